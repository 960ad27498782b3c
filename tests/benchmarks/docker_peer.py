"""A Docker daemon of our own for comparisons: private network and mount namespaces, its state in a temporary directory.

Nothing of a Docker that may run on the machine is touched.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_START = """
ip link set lo up
mount -t tmpfs tmpfs /var/run 2>/dev/null || true
exec dockerd --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid" --host "unix://$1/docker.sock" \
  >"$1/log" 2>&1
"""


class Docker:
    """The peer: argv of its commands, and its images."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.environment = os.environ | {"DOCKER_HOST": f"unix://{base}/docker.sock", "DOCKER_CONFIG": f"{base}/config"}

    def run(self, *words: str, check: bool = True) -> str:
        """Run `docker WORDS` and give what it printed."""
        done = subprocess.run(
            ["docker", *words], env=self.environment, capture_output=True, text=True, check=False, timeout=300
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"docker {' '.join(words)}: {done.stderr}")
        return done.stdout

    def load(self, layout: str, reference: str, tag: str) -> None:
        """Take an image out of an OCI layout."""
        archive = self.base / "image.tar"
        archive.unlink(missing_ok=True)
        source = f"oci:{layout}:{reference}"
        subprocess.run(["skopeo", "copy", "-q", source, f"docker-archive:{archive}:{tag}"], check=True)
        self.run("load", "-q", "-i", str(archive))
        archive.unlink()

    def compose(self, project: dict[str, Any], *, name: str = "bench") -> list[str]:
        """The start of a compose command line for this project."""
        path = self.base / f"{name}.json"
        path.write_text(json.dumps(project))
        return ["docker", "compose", "--progress", "quiet", "-p", name, "-f", str(path)]


@contextmanager
def docker() -> Iterator[Docker]:
    """A running daemon, gone with all its state at the end."""
    base = Path(tempfile.mkdtemp(prefix="bench-docker-"))
    cgroups = set(_cgroups())
    process = subprocess.Popen(
        ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", _START, "sh", str(base)],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    peer = Docker(base)
    try:
        _wait(peer, process)
        yield peer
    finally:
        _stop(process)
        shutil.rmtree(base, ignore_errors=True)
        for path in sorted(set(_cgroups()) - cgroups, key=len, reverse=True):
            Path(path).rmdir()


def _wait(peer: Docker, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while "Server" not in peer.run("version", check=False):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"dockerd did not start:\n{(peer.base / 'log').read_text()[-2000:]}")
        time.sleep(0.2)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the daemon and whatever it started: all of its session and of containerd's shims."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _cgroups() -> list[str]:
    found = []
    for directory, children, _files in os.walk("/sys/fs/cgroup"):
        found += [f"{directory}/{child}" for child in children if child == "docker" or "/docker" in directory]
    return found
