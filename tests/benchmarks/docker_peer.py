"""A separate Docker daemon for comparisons: private network and mount namespaces, state in a temporary directory.

A Docker daemon of the host is not touched.
"""

from __future__ import annotations

import errno
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
  --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/${1##*/}" >"$1/log" 2>&1
"""


class Docker:
    """The peer: argv of its commands, and its images."""

    def __init__(self, base: Path, pid: int) -> None:
        self.base = base
        self.pid = pid
        self.environment = os.environ | {"DOCKER_HOST": f"unix://{base}/docker.sock", "DOCKER_CONFIG": f"{base}/config"}

    def run(self, *words: str, check: bool = True) -> str:
        """Run `docker WORDS`; return its output."""
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

    def processes(self) -> set[int]:
        """The daemons, the shims, and everything in the containers. The daemons' network namespace is their mark."""
        inside = set()
        for group in _cgroups(self.base.name):
            inside.update(map(int, Path(group, "cgroup.procs").read_text().split()))
        return inside | {pid for pid in _pids() if _network(pid) == _network(self.pid)}


@contextmanager
def docker() -> Iterator[Docker]:
    """A running daemon; removes it and its state at the end."""
    base = Path(tempfile.mkdtemp(prefix="bench-docker-"))
    process = subprocess.Popen(
        ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", _START, "sh", str(base)],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    peer = Docker(base, process.pid)
    try:
        _wait(peer, process)
        yield peer
    finally:
        _stop(process)
        shutil.rmtree(base, ignore_errors=True)
        for group in sorted(_cgroups(base.name), key=len, reverse=True):
            _remove_cgroup(group)


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


def _cgroups(parent: str) -> list[str]:
    """Every group of one daemon: `parent` and what lies below. Other daemons have parents of their own."""
    tops = [*Path("/sys/fs/cgroup").glob(parent), *Path("/sys/fs/cgroup").glob(f"*/{parent}")]
    return [directory for top in tops for directory, _children, _files in os.walk(top)]


def _remove_cgroup(group: str) -> None:
    """Remove a group; the last of its processes may take a moment to go."""
    deadline = time.monotonic() + 30
    while True:
        try:
            os.rmdir(group)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _network(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""
