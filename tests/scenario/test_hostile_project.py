"""All commands, as root, on a project in which a container has made every file hostile.

Nothing outside the project is read, written or run, no command waits for what is no file, and none is a fault.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.everycommand import CALLS, project_in, words
from support.machine import Box

pytestmark = [pytest.mark.scenario, pytest.mark.as_root]

SECRET = "hunter2-canary"
LONGEST = 5.0  # seconds that a command may take longer than on a project that is sound
_PATIENCE = 60
CONFIG = """
[core]
    fsmonitor = {run}
    hooksPath = {place}
    sshCommand = {run}
[filter "p"]
    clean = {run}
    smudge = {run}
    process = {run}
[diff "p"]
    textconv = {run}
    command = {run}
[remote "origin"]
    url = ext::{run}
    promisor = true
    uploadpack = {run}
[extensions]
    partialClone = origin
[include]
    path = {place}/secret
"""

# What is made hostile, and a command that reads or writes it.
TARGETS: dict[str, tuple[str, ...]] = {
    "devbox.toml": ("plan",),
    "devbox.local.toml": ("plan",),
    "recipes": ("plan",),
    "recipes/own.toml": ("plan",),
    "devbox.lock.toml": ("plan",),
    "settings.env": ("plan",),
    "secret.txt": ("restart", "dev"),
    "in": ("run", "checked"),
    "in/a.txt": ("build",),
    "in/root.tar": ("plan",),
    "docker": ("plan",),
    "docker/Dockerfile": ("plan",),
    "docker/.dockerignore": ("plan",),
    "docker/a": ("plan",),
    "keys/ann.pub": ("verify",),
    ".gitignore": ("test", "--list"),
    ".git": ("build",),
    ".git/HEAD": ("build",),
    ".git/index": ("build",),
    ".git/objects": ("build",),
    ".git/packed-refs": ("build",),
    ".git/refs/heads": ("build",),
    ".git/info/exclude": ("test", "--list"),
    "out": ("image", "export", "dev", "out/dev.tar"),
    "out/report.xml": ("test", "--report", "out/report.xml", "--coverage", "out"),
    "out/dev.tar": ("image", "import", "out/dev.tar"),
    ".devcontainer": ("export", "devcontainer"),
    ".devcontainer/devcontainer.json": ("export", "devcontainer"),
    "made": ("init", "made"),
}


def _link(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "secret")


def _link_to_directory(path: Path, outside: Path) -> None:
    path.symlink_to(os.path.relpath(outside, path.parent))


def _link_to_root(path: Path, outside: Path) -> None:
    del outside
    path.symlink_to("/")


def _fifo(path: Path, outside: Path) -> None:
    del outside
    os.mkfifo(path)


def _socket(path: Path, outside: Path) -> None:
    del outside
    before = os.open(".", os.O_PATH)
    try:  # the path of a socket is short
        os.chdir(path.parent)
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.fchdir(before)
        os.close(before)


def _device(path: Path, outside: Path) -> None:
    del outside
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))


def _huge(path: Path, outside: Path) -> None:
    del outside
    with path.open("wb") as out:
        out.truncate(1 << 42 if path.suffix in (".toml", ".env", ".txt", ".pub", "") else 1 << 30)


def _deep(path: Path, outside: Path) -> None:
    del outside
    for _ in range(300):
        path /= "d"
        if len(str(path)) > 3000:
            break
    path.mkdir(parents=True)


KINDS: dict[str, Callable[[Path, Path], None]] = {
    "link": _link,
    "link to directory": _link_to_directory,
    "link to root": _link_to_root,
    "FIFO": _fifo,
    "socket": _socket,
    "device": _device,
    "deep": _deep,
}


@dataclass
class Ground:
    """A valid project, files outside of it, and the durations of commands."""

    box: Box
    project: Path
    sound: Path
    outside: Path
    took: dict[tuple[str, ...], float]

    def run(self, *argv: str) -> None:
        """Run a command, and check whether it accessed files outside the project."""
        before = self._look()
        began = time.monotonic()
        done = self.box.run(*argv, cwd=self.project, timeout=_PATIENCE, env=ENV)
        seconds = time.monotonic() - began
        said = (done.stdout + done.stderr).decode(errors="replace")
        assert "internal error" not in said, f"{argv}: {said}"
        assert SECRET not in said, f"{argv} tells what lies outside: {said}"
        assert self._look() == before, f"{argv} left the project: {said}"
        assert seconds < self.took.get(argv, 1.0) + LONGEST, f"{argv} took {seconds:.1f} s: {said}"

    def _look(self) -> dict[str, tuple[int, ...]]:
        """Times and sizes of the files outside the project, which change if a file is read or written."""
        return {
            str(path): (facts.st_atime_ns, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size)
            for path in sorted(self.outside.rglob("*"))
            if (facts := path.lstat()) is not None and not path.is_dir()
        }

    def replace(self, name: str, kind: str) -> None:
        """Put something of a kind in the place of a file or directory."""
        path = self.project / name
        if path.parent.is_dir() and not path.parent.is_symlink():
            self.remove(name)
            KINDS[kind](path, self.outside)

    def remove(self, name: str) -> None:
        """Remove the file or directory."""
        path = self.project / name
        if path.is_dir() and not path.is_symlink():
            subprocess.run(["rm", "-rf", "--", path], check=True)
        else:
            path.unlink(missing_ok=True)

    def restore(self, name: str) -> None:
        """Make it sound again."""
        self.remove(name)
        source = self.sound / name
        if source.is_dir():
            shutil.copytree(source, self.project / name, symlinks=True)
        elif source.exists():
            shutil.copy2(source, self.project / name)


ENV = {"DEVBOX_KEY_PASSPHRASE": "env:PASSPHRASE", "PASSPHRASE": "correct horse battery"}


@pytest.fixture
def ground(box: Box, tmp_path: Path) -> Ground:
    """The project is up, its test cells are green, its release is built; its repository names programs everywhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text(SECRET)
    (outside / "devbox.toml").write_text(f"# {SECRET}\n")
    script = outside / "run"
    script.write_text(f"#!/bin/sh\ntouch {outside}/ran\ncat\n")
    script.chmod(0o755)
    for name in ("post-index-change", "fsmonitor-watchman"):
        shutil.copy2(script, outside / name)
    project = project_in(box, tmp_path)
    (project / "out").mkdir()
    took = {}
    for call in (("trust",), ("up",), ("build",), *dict.fromkeys(TARGETS.values())):  # the last time, all is made
        began = time.monotonic()
        box.run(*call, cwd=project, env=ENV)
        took[call] = time.monotonic() - began
    shutil.rmtree(project / "made")
    (project / ".git/config").write_text(CONFIG.format(run=script, place=outside))
    (project / ".gitattributes").write_text("* filter=p diff=p\n")
    (project / ".git/info/attributes").write_text("* filter=p diff=p\n")
    (project / ".git/objects/info").mkdir(exist_ok=True)
    (project / ".git/objects/info/alternates").write_text(f"{outside}\n")
    sound = tmp_path / "sound"
    shutil.copytree(project, sound, symlinks=True)
    for path in outside.iterdir():
        os.utime(path, ns=(1, path.stat().st_mtime_ns))  # a read makes it younger, also with relatime
    control = tmp_path / "control"
    control.write_text("x")
    os.utime(control, ns=(1, control.stat().st_mtime_ns))
    control.read_text()
    assert control.stat().st_atime_ns > 1, "this file system does not tell of reads"
    return Ground(box, project, sound, outside, took)


@contextlib.contextmanager
def changing(ground: Ground, name: str) -> Iterator[None]:
    """Have a file become a link out and a file again, as fast as that goes."""
    path, kept, ended = ground.project / name, ground.project / f"{name}.kept", threading.Event()

    def turn() -> None:
        while not ended.is_set():
            os.rename(path, kept)
            os.symlink(ground.outside / "secret", path)
            os.unlink(path)
            os.mkfifo(path)
            os.rename(kept, path)

    turning = threading.Thread(target=turn)
    turning.start()
    try:
        yield
    finally:
        ended.set()
        turning.join()


def test_issue9_must_show_2_all_commands_stay_in_a_hostile_project(ground: Ground) -> None:
    _each_file_by_itself(ground)
    _every_command(ground)


def _each_file_by_itself(ground: Ground) -> None:
    """Each file in two of the ways, all ways in all: the long test has every file in every way."""
    kinds = list(KINDS)
    for number, (name, call) in enumerate(TARGETS.items()):
        for kind in {kinds[number % len(kinds)], "FIFO" if number % 2 else "link"}:
            ground.replace(name, kind)
            ground.run(*call)
            ground.restore(name)
    for name in ("devbox.toml", "in/a.txt", ".git/HEAD"):
        with changing(ground, name):
            ground.run(*TARGETS[name])
    for name in ("settings.env", "devbox.lock.toml", ".gitignore"):
        _huge(ground.project / name, ground.outside)
        ground.run(*TARGETS[name])
        ground.restore(name)


def _every_command(ground: Ground) -> None:
    """Make all files hostile except those that a command reads first, so that it reaches the others."""
    kinds = list(KINDS)
    loaded = ("devbox.toml", "recipes", "recipes/own.toml", "devbox.lock.toml", "settings.env", ".git", "docker", "in")
    for number, name in enumerate(name for name in TARGETS if name not in loaded):
        ground.replace(name, kinds[number % len(kinds)])
    (ground.project / "in/root.txt").symlink_to("/")
    (ground.project / "docker/root").symlink_to("/")
    ground.replace("devbox.local.toml", "FIFO")
    for name in CALLS:
        ground.run(*words(name, CALLS[name][0]))
    ground.remove("devbox.local.toml")
    for name, calls in CALLS.items():
        if name not in ("lock", "up", "test", "debug"):
            ground.run(*words(name, calls[-1]))


@pytest.mark.long
def test_issue9_must_show_2_every_file_in_every_way(ground: Ground) -> None:
    for name, call in TARGETS.items():
        for kind in KINDS:
            ground.replace(name, kind)
            ground.run(*call)
            ground.restore(name)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_issue9_must_show_2_files_and_commands_at_random(ground: Ground, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(100):
        names = dice.sample(list(TARGETS), dice.randint(1, 4))
        for name in names:
            ground.replace(name, dice.choice(list(KINDS)))
        command = dice.choice([name for name in CALLS if name not in ("lock", "up", "debug")])
        ground.run(*words(command, dice.choice(CALLS[command])))
        for name in sorted(names):
            ground.restore(name)
