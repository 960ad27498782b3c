"""Injection through every string of a file: each is refused with its line, or remains plain text."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from support.machine import REPOSITORY
from support.resolving import resolve_env

from devbox.envfile.load import load
from devbox.errors import EnvFileError
from devbox.model.spec import Spec

EXAMPLE = tomllib.loads((REPOSITORY / "devbox.toml.example").read_text())  # shows every key
ONE_LINE = "-x$(touch {mark})`touch {mark}`';touch {mark};'\";touch {mark};\"&&touch {mark}|tee {mark}"
LINES = "x\ntouch {mark}\r\nruntime={mark}\n"


def strings(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every string."""
    if isinstance(value, str):
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from strings(inner, (*path, key))


@pytest.mark.parametrize("table", EXAMPLE)
@pytest.mark.parametrize("payload", [LINES, pytest.param(ONE_LINE, marks=pytest.mark.long)], ids=["lines", "one line"])
def test_a_string_is_refused_at_its_line_or_stays_a_string(tmp_path: Path, table: str, payload: str):
    mark = tmp_path / "mark"
    for path in strings(EXAMPLE[table], (table,)):
        document = copy.deepcopy(EXAMPLE)
        target = document
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = payload.format(mark=mark)
        (tmp_path / "devbox.toml").write_text(tomlkit.dumps(document))
        assert_harmless(outcome(str(tmp_path)), path)
        assert not mark.exists(), path


def outcome(root: str) -> Spec | EnvFileError:
    try:
        return resolve_env(load(root))
    except EnvFileError as error:
        return error


def assert_harmless(found: Spec | EnvFileError, path: tuple[Any, ...]) -> None:
    """Check that line-based values have one line each, and that an error has a place and is printable."""
    if isinstance(found, EnvFileError):
        assert found.where.startswith("devbox.toml:"), (path, found.where)
        assert found.render().replace("\n", "").isprintable(), path
        return
    for spec in found.containers.values():
        places = (spec.workdir, spec.user, *(mount.target for mount in spec.mounts))
        assert all(place.isprintable() for place in places), path


@pytest.mark.parametrize(
    "line",
    [
        'user = "-x"',
        'user = "a b"',
        'user = "a\\nb"',
        'user = "$(id)"',
        'user = "a:b:c"',
        'user = "²"',
        'packages = ["less", "-x"]',
        'packages = ["--option=x"]',
        'packages = ["/etc/passwd"]',
        'packages = ["less;id"]',
        'packages = ["less\\nid"]',
        'workdir = "/x\\nruntime=/evil"',
        'workdir = "/x\\rruntime=/evil"',
        'workspace = "/x\\u2028"',
        'tmpfs = ["/x\\n"]',
        'volumes = { a = "/x\\n" }',
        'mounts = [{ source = "x\\ny", target = "/x" }]',
        'mounts = [{ source = "x", target = "/x\\n" }]',
        'env_files = ["x\\ny"]',
    ],
)
def test_what_could_only_fail_at_start_is_refused_when_the_file_is_read(error, line: str):
    found = error(f'[dev]\nrecipe = "debian"\n{line}\n')
    assert found.where == "devbox.toml:3"


@pytest.mark.parametrize("user", ["app", "1000", "1000:1000", "www-data", "_apt:nogroup", "Robot.1", "0"])
def test_users_as_images_have_them(load_spec, user: str):
    assert load_spec(f'[dev]\nrecipe = "debian"\nuser = "{user}"\n').containers["dev"].user == user


@pytest.mark.parametrize("name", ["g++", "libc6:arm64", "less=668-1", "nodejs/trixie-backports", "python3.13", "0ad"])
def test_packages_as_a_distribution_calls_them(load_spec, name: str):
    assert load_spec(f'[dev]\nrecipe = "debian"\npackages = ["{name}"]\n')
