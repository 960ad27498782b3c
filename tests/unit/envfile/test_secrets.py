"""Secrets are fetched when a container starts, or the error says which one is missing."""

from __future__ import annotations

import contextlib
import os
import pty
import termios
import threading
import tty
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import builders, procfs
from support.builders import container
from support.machine import wait_until

from devbox.envfile import secrets
from devbox.envfile.secrets import list_host_access
from devbox.errors import DevboxError, NotTrusted
from devbox.execute.terminal import SecretResolver, SharedTerminal
from devbox.model.container import Secret
from devbox.model.host_access import SecretAccess


def referring(references: Mapping[str, str]) -> dict[str, Secret]:
    return {name: Secret(reference=reference) for name, reference in references.items()}


def fetch(references: Mapping[str, str], **how: Any) -> dict[str, str]:
    return secrets.fetch(referring(references), **how)


def test_from_the_environment_from_files_and_from_commands(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", "t")
    (tmp_path / "key").write_text("k\n")
    references = {"A": "env:SHOP_TOKEN", "B": "file:key", "C": "cmd:echo from $PWD"}
    found = fetch(references, root=str(tmp_path), where="", allowed=wanted(references, tmp_path))
    assert found == {"A": "t", "B": "k", "C": f"from {tmp_path}"}


def wanted(references: dict[str, str], root: Path) -> tuple[SecretAccess, ...]:
    return list_host_access([container("dev", secrets=referring(references))], root=str(root))


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("env:NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE is not set"),
        ("file:nothing", "nothing not found"),
        ("file:empty", "is empty"),
        ("file:.", "cannot read"),
        ("file:pipe", "not a file"),
        ("file:binary", "not UTF-8"),
        ("cmd:echo no >&2; exit 3", "exited with code 3"),
        ("cmd:true", "printed nothing"),
    ],
)
def test_a_missing_one_is_named(tmp_path, reference, why):
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(b"\xff")
    os.mkfifo(tmp_path / "pipe")
    allowed = wanted({"A": reference}, tmp_path)
    with pytest.raises(DevboxError, match="missing secret A") as caught:
        fetch({"A": reference}, root=str(tmp_path), where="devbox.toml:1", allowed=allowed)
    assert why in caught.value.sentence
    assert caught.value.where == "devbox.toml:1"
    assert caught.value.remedy


def test_a_failing_command_shows_its_complaint_and_never_its_output(tmp_path):
    references = {"A": "cmd:echo half-a-password; echo locked >&2; exit 1"}
    with pytest.raises(DevboxError) as caught:
        fetch(references, root=str(tmp_path), where="", allowed=wanted(references, tmp_path))
    told = caught.value.render().replace(caught.value.remedy, "").replace(caught.value.sentence, "")
    assert "locked" in told
    assert "half-a-password" not in told


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("read answer; echo $answer", "printed nothing"),
        ("read answer < /dev/tty && echo $answer", "exited with code"),
        ('test -z "$GPG_TTY" || echo it would be found', "exited|printed nothing"),
    ],
)
def test_off_a_terminal_a_command_that_asks_fails_at_once_and_says_why(tmp_path, monkeypatch, command, why):
    monkeypatch.setenv("GPG_TTY", "/dev/pts/1")
    references = {"A": f"cmd:{command}"}
    with pytest.raises(DevboxError, match=why) as caught:
        fetch(references, root=str(tmp_path), where="", allowed=wanted(references, tmp_path))
    assert "requires that devbox runs on a terminal" in caught.value.remedy


def test_a_command_that_never_answers_is_killed_with_what_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(secrets, "_PATIENCE", 0.3)
    references = {"A": f"cmd:sleep 100 & echo $! > {tmp_path}/pid; wait"}
    with pytest.raises(DevboxError, match="timed out after"):
        fetch(references, root=str(tmp_path), where="", allowed=wanted(references, tmp_path))
    pid = (tmp_path / "pid").read_text().strip()
    wait_until(lambda: not procfs.is_running(pid), what="the end of what it started")


@pytest.mark.parametrize("on_a_terminal", [False, True])
def test_issue10_6_a_command_that_prints_without_an_end_is_stopped(tmp_path, on_a_terminal):
    references = {"A": "cmd:exec yes"}
    _, theirs = pty.openpty()
    terminal = theirs if on_a_terminal else None
    with pytest.raises(DevboxError, match="printed more than 1 MiB and was killed"):
        fetch(references, root=str(tmp_path), where="", allowed=wanted(references, tmp_path), terminal=terminal)


def test_on_a_terminal_it_may_ask_each_question_once(tmp_path):
    """Its output is the secret; its prompt and the input without echo use the terminal."""
    command = 'printf "word: " >&2; stty -echo; read word; stty echo; test "$GPG_TTY" = "$(tty)" && echo "<$word>"'
    ours, theirs = pty.openpty()
    events = []
    resolved = replace(
        builders.resolved(),
        instance=replace(builders.INSTANCE, root=str(tmp_path)),
        allowed=wanted({"A": f"cmd:{command}"}, tmp_path),
    )
    specs = [container(name, secrets=referring({"A": f"cmd:{command}"})) for name in ("dev", "db")]
    try:
        with contextlib.closing(SharedTerminal(theirs, events.append)) as terminal:
            asked = SecretResolver(resolved, terminal=terminal)
            answers = threading.Thread(target=answering, args=(ours, b"word: ", b"open sesame\n"))
            answers.start()
            found = [asked.resolve(spec) for spec in specs]
            answers.join()
            shown = [type(event).__name__ for event in events]
    finally:
        os.close(ours)
        os.close(theirs)
    assert found == [{"A": "<open sesame>"}] * 2
    assert shown == ["Lent", "Returned"]


def answering(fd: int, prompt: bytes, answer: bytes) -> None:
    said = b""
    while prompt not in said:
        said += os.read(fd, 100)
    os.write(fd, answer)


def test_a_terminal_is_given_back_with_its_echo(tmp_path):
    ours, theirs = pty.openpty()
    try:
        before = termios.tcgetattr(theirs)
        with (
            contextlib.closing(SharedTerminal(theirs, lambda event: None)) as terminal,
            terminal.lend_for_prompt() as fd,
        ):
            tty.setraw(fd)
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)


def test_what_reaches_beyond_the_project(tmp_path):
    root = os.path.realpath(tmp_path)
    (tmp_path / "inside").touch()
    (tmp_path / "link").symlink_to("/etc/hostname")
    inside = {"A": "env:X", "B": "file:inside", "C": "file:not/there/yet"}
    outside = {"D": "cmd:pass show x", "E": "file:~/.netrc", "F": "file:../x", "G": "file:link"}
    found = list_host_access([container("dev", secrets=referring(inside | outside))], root=root)
    assert {access.variable: access.reference for access in found} == outside
    paths = {access.variable: access.path for access in found}
    assert paths == {
        "D": "",
        "E": os.path.expanduser("~/.netrc"),
        "F": f"{os.path.dirname(root)}/x",
        "G": "/etc/hostname",
    }


def test_a_command_without_permission_never_runs(tmp_path):
    with pytest.raises(NotTrusted):
        fetch({"A": f"cmd:touch {tmp_path}/ran; echo x"}, root=str(tmp_path), where="")
    assert not (tmp_path / "ran").exists()


def test_a_file_that_became_a_link_since_it_was_allowed_is_not_read(tmp_path):
    """The opened file itself is checked: containers of the project may replace it at any moment."""
    root = Path(os.path.realpath(tmp_path)) / "project"
    root.mkdir()
    (root / "plain").write_text("inside")
    (tmp_path / "key").write_text("allowed")
    (tmp_path / "private").write_text("of the machine")
    (root / "link").symlink_to(tmp_path / "key")
    references = {"A": "file:plain", "B": "file:link"}
    allowed = wanted(references, root)
    assert fetch(references, root=str(root), where="", allowed=allowed) == {"A": "inside", "B": "allowed"}
    for name, variable in (("plain", "A"), ("link", "B")):
        (root / name).unlink()
        (root / name).symlink_to(tmp_path / "private")
        with pytest.raises(NotTrusted, match=f"{name}, now .*private") as caught:
            fetch({variable: references[variable]}, root=str(root), where="devbox.toml:2", allowed=allowed)
        assert "of the machine" not in caught.value.render()
