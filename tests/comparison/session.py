"""One comparison: start a registry, Docker's daemon and devbox; run the cases in turn, both sides in parallel."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks.docker_peer import docker
from comparison import compare, dockerfiles, images
from comparison.images import Image
from comparison.push import Pusher
from comparison.sides import DockerSide, Facts, OurSide, Refused
from support.machine import wait_until

from devbox.images.store.manifest import get_architecture


class Result(NamedTuple):
    """One case: its differences, and whether both run it."""

    kind: str  # "image", "Dockerfile"
    name: str
    differences: list[str]
    runs: bool


class Session:
    """Both sides and the registry, ready."""

    def __init__(self, pusher: Pusher, ours: OurSide, docker_side: DockerSide, base: Path) -> None:
        self._pusher = pusher
        self._ours = ours
        self._docker = docker_side
        self._base = base
        self._pool = ThreadPoolExecutor(2)

    def image(self, name: str) -> Result:
        """One of the images."""
        reference = self._pusher.push(f"i/{_plain(name)}", images.ALL[name])
        plain = f"i-{_plain(name)}"
        return self._both("image", name, lambda side: side.image(plain, reference))

    def dockerfile(self, name: str) -> Result:
        """One of the Dockerfiles."""
        text, plain = dockerfiles.everything(self.base_image)[name], f"d-{_plain(name)}"
        context = self._base / "context"
        return self._both("Dockerfile", name, lambda side: side.dockerfile(plain, text, context))

    @property
    def base_image(self) -> str:
        """The reference of the image that Dockerfiles begin with."""
        return self._pusher.push("base", Image())

    def _both(self, kind: str, name: str, run: Callable[[OurSide | DockerSide], Facts]) -> Result:
        ours, theirs = self._pool.map(lambda side: _outcome(side, run), (self._ours, self._docker))
        found = compare.differences(ours, theirs, times=kind == "image")
        return Result(kind, name, found, not isinstance(theirs, str))


def _outcome(side: OurSide | DockerSide, run: Callable[[OurSide | DockerSide], Facts]) -> Facts | str:
    try:
        return run(side)
    except Refused as refused:
        return str(refused) or "refused"


@contextlib.contextmanager
def session() -> Iterator[Session]:
    """All that a comparison needs; removed at the end."""
    base = Path(tempfile.mkdtemp(prefix="devbox-comparison-"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, base, ignore_errors=True)
        _write_context(base / "context")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        _serve(stack, base, port, inside=0)
        peer = stack.enter_context(docker())
        _serve(stack, base, port, inside=peer.pid)
        ours = OurSide(base)
        yield Session(Pusher(f"localhost:{port}", get_architecture()), ours, DockerSide(peer), base)


def _serve(stack: contextlib.ExitStack, base: Path, port: int, *, inside: int) -> None:
    """A registry on the host's loopback, or on that of a process's network namespace. Both have the same data."""
    config = base / "registry.yml"
    storage = {"filesystem": {"rootdirectory": str(base / "data")}}
    config.write_text(json.dumps({"version": 0.1, "storage": storage, "http": {"addr": f"127.0.0.1:{port}"}}))
    enter = ["nsenter", f"--net=/proc/{inside}/ns/net"] if inside else []
    argv = [*enter, "docker-registry", "serve", str(config)]
    with (base / f"registry-{inside}.log").open("wb") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    stack.callback(process.wait)
    stack.callback(process.kill)
    log_file = base / f"registry-{inside}.log"
    wait_until(lambda: b"listening on" in log_file.read_bytes(), seconds=30, what="the registry")


def _write_context(place: Path) -> None:
    """The build context of the Dockerfiles."""
    for name in ("dir/sub", "empty", "links"):
        (place / name).mkdir(parents=True)
    for name in ("a.txt", "b.txt", "dir/c.txt", "dir/sub/d.txt", "name with blanks"):
        (place / name).write_text(f"{name}\n")
    (place / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (place / "link").symlink_to("a.txt")
    (place / "links/up").symlink_to("../a.txt")
    (place / "links/away").symlink_to("/etc/passwd")
    with tarfile.open(place / "packed.tar.gz", "w:gz") as archive:
        archive.add(place / "dir", "dir")
    for path in (place, *place.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.name == "run.sh" else 0o644)
            os.utime(path, (1_600_000_000, 1_600_000_000))


def run(made: Session, names: Iterable[tuple[str, str]]) -> Iterator[Result]:
    """The results, as they come."""
    for kind, name in names:
        yield made.image(name) if kind == "image" else made.dockerfile(name)


def cases() -> list[tuple[str, str]]:
    """Every case: its kind and name."""
    return [("image", name) for name in images.ALL] + [("Dockerfile", name) for name in dockerfiles.everything("base")]


def _plain(name: str) -> str:
    """A name that is one of repositories and containers, too."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") + f"-{sum(map(ord, name)):x}"
