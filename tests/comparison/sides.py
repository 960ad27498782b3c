"""The two sides of the comparison: each runs an image from the registry or builds a Dockerfile, and is inspected."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.docker_peer import Docker

_PATIENCE = 15.0  # seconds until a program that says so is ready
Facts = dict[str, Any]


class Refused(Exception):
    """An image that does not run, or a Dockerfile that does not build; with the error message."""


def looked_at(pid: int) -> Facts:
    """Facts about the process."""
    place = Path(__file__).parent.parent
    argv = [sys.executable, "-m", "comparison.look", str(pid)]
    done = subprocess.run(argv, cwd=place, capture_output=True, check=False)
    if done.returncode:
        raise AssertionError(done.stderr.decode())
    facts: Facts = json.loads(done.stdout)
    return facts


def ready(said: Callable[[], str], *, desired: bool) -> None:
    """Wait until the program says that it is."""
    deadline = time.monotonic() + _PATIENCE
    while desired and "ready" not in said():
        if time.monotonic() > deadline:
            raise Refused(f"not ready: {said()[-300:]}")
        time.sleep(0.02)


class OurSide:
    """devbox, one project a case."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._environment = os.environ | {
            "DEVBOX_HOME": str(base / "home"),
            "DEVBOX_CONFIG": str(base / "config"),
            "DEVBOX_RUNTIME_DIR": str(base / "run"),
            "NO_COLOR": "1",
            "DOCKER_CONFIG": str(base),
        }

    def image(self, name: str, reference: str) -> Facts:
        """Facts about a container of an image."""
        return self._run(name, f'[service.c]\nimage = "{reference}"\n', None, "")

    def dockerfile(self, name: str, text: str, context: Path) -> Facts:
        """Facts about a container of a Dockerfile's image."""
        return self._run(name, '[service.c]\ndockerfile = { path = "Dockerfile", context = "ctx" }\n', context, text)

    def _run(self, name: str, env_file: str, context: Path | None, text: str) -> Facts:
        project = self._base / "projects" / name
        project.mkdir(parents=True)
        (project / "devbox.toml").write_text(env_file)
        if context:
            (project / "Dockerfile").write_text(text)
            shutil.copytree(context, project / "ctx", symlinks=True)
        try:
            return self._facts(project)
        finally:
            self._devbox(project, "down", "-v")
            shutil.rmtree(project)

    def _facts(self, project: Path) -> Facts:
        done = self._devbox(project, "up")
        if done.returncode:
            raise Refused(done.stderr[-1500:])
        pid = json.loads(self._devbox(project, "ps", "--json").stdout)[0]["pid"]
        if not pid:
            raise Refused("it runs no more")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()  # below devbox's init
        facts = looked_at(int(children[0]))
        config = json.loads(self._devbox(project, "image", "inspect", "service.c").stdout)["config"]["config"]
        holds = any("hold" in word for word in facts["process"]["argv"])
        ready(lambda: self._devbox(project, "logs", "c").stdout, desired=holds)
        self._devbox(project, "stop", "c")
        said = self._devbox(project, "logs", "c").stdout
        return facts | {"config": config, "stopped": _stopped(said)}

    def _devbox(self, project: Path, *words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "devbox", *words]
        return subprocess.run(
            argv, cwd=project, env=self._environment, capture_output=True, text=True, errors="replace", check=False
        )


class DockerSide:
    """Docker's own daemon, in its own network namespace."""

    def __init__(self, peer: Docker) -> None:
        self._peer = peer

    def image(self, name: str, reference: str) -> Facts:
        """Facts about a container of an image."""
        return self._run(name, reference)

    def dockerfile(self, name: str, text: str, context: Path) -> Facts:
        """Facts about a container of a Dockerfile's image."""
        file = self._peer.base / f"{name}.dockerfile"
        file.write_text(text)
        argv = ["docker", "build", "-q", "--network", "host", "-t", name, "-f", str(file), str(context)]
        done = subprocess.run(argv, env=self._peer.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Refused(done.stderr[-1500:])
        return self._run(name, name)

    def _run(self, name: str, image: str) -> Facts:
        argv = ["docker", "run", "-d", "--network", "none", "--name", f"c-{name}", image]
        try:
            done = subprocess.run(argv, env=self._peer.environment, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Refused(done.stderr[-1500:])
            return self._facts(f"c-{name}", image)
        finally:
            self._peer.run("rm", "-f", "-v", f"c-{name}", check=False)

    def _facts(self, container: str, image: str) -> Facts:
        pid = int(self._peer.run("inspect", "-f", "{{.State.Pid}}", container))
        if not pid:
            raise Refused("it runs no more: " + self._peer.run("logs", container))
        facts = looked_at(pid)
        config = json.loads(self._peer.run("image", "inspect", "-f", "{{json .Config}}", image))
        holds = any("hold" in word for word in facts["process"]["argv"])
        ready(lambda: self._peer.run("logs", container), desired=holds)
        self._peer.run("stop", "-t", "3", container)
        return facts | {"config": config, "stopped": _stopped(self._peer.run("logs", container))}


def _stopped(said: str) -> str:
    """The stop signal, as the program reports it."""
    lines = [line.rpartition("got ")[2] for line in said.splitlines() if "got " in line]
    return f"signal {lines[-1]}" if lines else ""
