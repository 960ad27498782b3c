"""The rows of all engines side by side, as measured and as the page docs/reference/parity.md."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.docker_peer import docker
from parity.compare import Rows, Value
from parity.ours import KINDS, PROBE
from support import rootfs
from support.machine import REPOSITORY, as_ordinary_user

DOCKER, USER = "Docker default", "ordinary user"
_LONGEST = 3  # of a list that is written out
_FLEETING = ("| limit of ", "| readable below ", "| writable below ")  # depend on who asks, and on loaded modules

_HEAD = """# Parity with Docker's default container

What a container's root may do, tried from inside on one machine: Docker's default container next to ours, under crun
and runc as root, as an ordinary user (crun), and with `isolation = "isolated"`. `make test` measures it again and fails
on a row of ours that is looser than Docker's. An attempt that got through says `ok`, or the error that came from its
arguments only (`EINVAL`, `EFAULT`, …); one that was refused says `EPERM`, `EACCES` or `ENOSYS`. Of long lists the
number is shown, and all their items are compared. Written by `(cd tests && python -m parity)`.

"""


def measure() -> dict[str, Rows]:
    """The rows of everyone by name, Docker's first."""
    with _listener() as name:
        rows: dict[str, Rows] = json.loads(
            _run([sys.executable, "-m", "parity.ours", name, *KINDS], tests=REPOSITORY / "tests")
        )
        with tempfile.TemporaryDirectory(prefix="devbox-user-") as base:
            Path(base).chmod(0o755)
            start, environment = as_ordinary_user(Path(base))
            command = [*start, "-m", "parity.ours", name, "crun"]
            rows[USER] = json.loads(_run(command, tests="tests", environment=environment))["crun"]
        return {DOCKER: _docker(name)} | rows  # Docker is asked last: a file that comes to /proc meanwhile is its own


def machine() -> str:
    """The environment on which the values of a page depend."""
    version = _run(["docker", "--version"]).strip().partition(",")[0]
    return f"Measured on Linux {os.uname().release}, {os.uname().machine}, next to {version}."


def page(rows: dict[str, Rows]) -> str:
    """The document."""
    lines = [f"| | {' | '.join(rows)} |", f"|---{'|---' * len(rows)}|"]
    for row, docker_value in rows[DOCKER].items():
        cells = [_cell(row, of[row], docker_value) for of in rows.values()]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return f"{_HEAD}{machine()}\n\n" + "\n".join(lines) + "\n"


def comparable(text: str) -> list[str]:
    """The lines of a page that are reproducible on one host."""
    return [line for line in text.splitlines() if not line.startswith(_FLEETING)]


def names(text: str) -> list[str]:
    """The rows of a page."""
    return [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]


def _cell(row: str, value: Value, docker_value: Value) -> str:
    if row.startswith("limit of "):
        return "same" if value == docker_value else "another"
    if isinstance(value, list):
        return " ".join(value) or "none" if len(value) <= _LONGEST else str(len(value))
    return str(value)


def _docker(abstract_socket: str) -> Rows:
    with docker() as peer:
        peer.run("import", str(rootfs.tarball()), "parity")
        peer.run("run", "--detach", "--name", "probed", "parity", "sleep", "infinity")
        peer.run("cp", str(PROBE), "probed:/probe.pl")
        rows: Rows = json.loads(peer.run("exec", "probed", "perl", "/probe.pl", abstract_socket))
        peer.run("rm", "--force", "probed")
    return rows


@contextmanager
def _listener() -> Iterator[str]:
    """The name of an abstract socket of the host with a listener."""
    name = f"devbox-parity-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{name}")
        listening.listen()
        yield name


def _run(argv: list[str], *, tests: str | Path = "", environment: dict[str, str] | None = None) -> str:
    given = dict(environment or os.environ)
    if tests:
        given["PYTHONPATH"] = str(tests)
    done = subprocess.run(argv, env=given, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout
