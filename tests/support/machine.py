"""The real devbox for scenario tests: as root or as an ordinary user, with crun or runc; and what it leaves behind.

A `Box` is one DEVBOX_HOME with one way of calling devbox. Everything a test starts through it is stopped by `clear`.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from devbox.host import files
from devbox.host.paths import hash_name
from devbox.isolation.network import bridge, egress

REPOSITORY = Path(__file__).resolve().parents[2]
IN_CI = os.environ.get("CI") == "true"
USER = "devbox-test"
# The ordinary user reaches the code here, whatever the permissions above the checkout are.
_MOUNTED = "/opt/devbox-test"
_LINKS = re.compile(rf"{bridge.BRIDGE}|{egress.UPLINK}|port\d+\.\d+")  # see `bridge.port_name`


def lacking(reason: str) -> None:
    """Skip the test because the host cannot run it; fail it in CI."""
    if IN_CI:
        pytest.fail(f"CI must be able to run this: {reason}")
    pytest.skip(reason, allow_module_level=True)


@dataclass
class Box:
    """One way of running devbox. `user` is None for the calling user."""

    home: Path
    user: str | None = None
    runtime: str = "crun"
    projects: list[Path] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)  # of every call

    def argv(self, *words: str | Path) -> list[str]:
        """The command line that runs devbox with these words."""
        if self.user is None:
            return [sys.executable, "-m", "devbox", *map(str, words)]
        return [
            *_as_user(self.user, self.home.parent),
            f"{_MOUNTED}/.venv/bin/python",
            "-m",
            "devbox",
            *map(str, words),
        ]

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of every call."""
        known = {name: value for name, value in os.environ.items() if not name.startswith("DEVBOX_")}
        known |= {"DEVBOX_HOME": str(self.home), "DEVBOX_RUNTIME": self.runtime, "NO_COLOR": "1"}
        known |= {"DEVBOX_CONFIG": f"{self.home}-config"}
        known |= {"PYTHONPATH": str(REPOSITORY if self.user is None else _MOUNTED)}
        if self.user is not None:
            known |= {"HOME": str(self.home.parent), "USER": self.user}
            known.pop("XDG_RUNTIME_DIR", None)
        return known | self.variables | dict(extra or {})

    def run(
        self,
        *words: str | Path,
        cwd: Path,
        input: bytes | None = None,  # noqa: A002
        timeout: float = 900,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run devbox to its end."""
        return subprocess.run(
            self.argv(*words),
            cwd=cwd,
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            timeout=timeout,
            env=self.environment(env),
            check=False,
        )

    def ok(self, *words: str | Path, cwd: Path, **how: Any) -> str:
        """Run devbox, which must succeed; its standard output."""
        done = self.run(*words, cwd=cwd, **how)
        assert done.returncode == 0, f"devbox {' '.join(map(str, words))}: {done.returncode}\n{done.stderr.decode()}"
        return done.stdout.decode()

    def json(self, *words: str | Path, cwd: Path) -> Any:
        """The JSON document a command prints."""
        done = self.run(*words, "--json", cwd=cwd)
        assert done.stdout, f"devbox {' '.join(map(str, words))}: {done.returncode}\n{done.stderr.decode()}"
        return json.loads(done.stdout)

    def ps(self, cwd: Path) -> dict[str, dict[str, Any]]:
        """The containers of a project by name."""
        return {row["name"]: row for row in self.json("ps", cwd=cwd)}

    def project(self, text: str, name: str = "app", files: Mapping[str, str] | None = None) -> Path:
        """A new project directory with this env file."""
        path = Path(tempfile.mkdtemp(prefix="p-", dir=self.home.parent)) / name
        path.mkdir()
        (path / "devbox.toml").write_text(text)
        for relative, content in (files or {}).items():
            (path / relative).parent.mkdir(parents=True, exist_ok=True)
            (path / relative).write_text(content)
        self.adopt(path)
        return path

    def from_template(self, template: str, name: str = "app") -> Path:
        """A new project made by `devbox init`."""
        parent = Path(tempfile.mkdtemp(prefix="p-", dir=self.home.parent))
        self._give(parent)
        self.ok("init", parent / name, "--template", template, cwd=parent)
        self.adopt(parent / name)
        return parent / name

    def adopt(self, project: Path) -> None:
        """Take a project that is to be brought down at the end."""
        project.parent.chmod(0o755)
        self._give(project.parent)
        self.projects.append(project)

    def clear(self) -> None:
        """Bring every project down, with its data."""
        for project in self.projects:
            if (project / "devbox.toml").exists():
                for stage in self.stages(project):
                    self.run("down", "-v", "--stage", stage, "--confirm", stage, cwd=project, timeout=120)
                self.run("down", "-v", cwd=project, timeout=120)
        self.projects.clear()

    def stages(self, project: Path) -> list[str]:
        """The stages of a project of which something is kept."""
        places = (json.loads(path.read_text()) for path in self.home.glob("projects/*/place.json"))
        return [place["stage"] for place in places if place.get("stage") and place["root"] == str(project.resolve())]

    def footprint(self) -> set[str]:
        """What exists of this box on the host: processes, host mounts, cgroups, runtime and work files.

        A network namespace and a port live by a process, so processes tell of those, too. Other devboxes may run
        meanwhile; none may show in the host's network.
        """
        processes = {f"process {pid} {_command(pid)}" for pid in self.pids()}
        files = self._mounts() | self._cgroups() | self._runtime_files() | self._work_files()
        return processes | files | host_network()

    def leftovers(self, before: set[str]) -> list[str]:
        """New leftovers, after a short wait for processes that are ending."""
        deadline = time.monotonic() + 3
        while (new := sorted(self.footprint() - before)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return new

    def _give(self, path: Path) -> None:
        if self.user is not None:
            subprocess.run(["chown", "-R", f"{self.user}:{self.user}", str(path)], check=True)

    def pids(self) -> set[int]:
        """Processes that name this home or its runtime directory: as they were called, or by their root file system.

        Their other mounts prove nothing: a daemon of another engine has copies of all mounts from its start.
        Ids prove nothing: an ordinary user's containers have the same ids in each home.
        """
        found, mine = set(), _ancestors()
        marks = (str(self.home).encode(), f"/{self._tag()}/".encode())
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) in mine:
                continue
            try:
                facts = [(entry / name).read_bytes() for name in ("cmdline", "environ", "cgroup")]
                facts.append(_root_mount(entry))
            except OSError:
                continue  # it has ended
            if any(mark in fact for mark in marks for fact in facts):
                found.add(int(entry.name))
        return found

    def _tag(self) -> str:
        """Names of this home's directories below /run and /sys/fs/cgroup."""
        return hash_name(str(self.home))

    def ids(self) -> list[range]:
        """The host ids that processes in this box's user namespaces have."""
        if self.user is None:
            record = self.home / "idmap.json"
            base = json.loads(record.read_text())["base"] if record.exists() else 0
            return [range(base, base + 65536)] if base else []
        own = pwd.getpwnam(self.user).pw_uid
        fields = [line.split(":") for line in Path("/etc/subuid").read_text().splitlines()]
        ranges = [range(int(first), int(first) + int(count)) for name, first, count in fields if name == self.user]
        return [range(own, own + 1), *ranges]

    def _mounts(self) -> set[str]:
        lines = Path("/proc/mounts").read_text().splitlines()
        marks = (str(self.home), f"/{self._tag()}/")
        return {f"mount {line.split()[1]}" for line in lines if any(mark in line for mark in marks)}

    def _cgroups(self) -> set[str]:
        found, tag = set(), self._tag()
        for directory, children, _files in os.walk("/sys/fs/cgroup"):
            ours = [child for child in children if os.path.basename(directory) == tag or f"devbox-{tag}-" in child]
            found |= {f"cgroup {directory}/{child}" for child in ours}
            if directory.count("/") > 6:
                children.clear()
        return found

    def _runtime_files(self) -> set[str]:
        """Instance directories on tmpfs."""
        return {
            f"runtime directory {directory}"
            for base in ("/run", "/dev/shm", "/tmp")
            for directory in Path(base).glob(f"devbox-[0-9]*/{self._tag()}/*")
        }

    def _work_files(self) -> set[str]:
        """Work in progress of bakes."""
        return {f"work file {path}" for path in self.home.glob("tmp/*")}


def make_box(kind: str) -> Box:
    """A box of a kind: "root-crun", "root-runc", "user-crun" or "user-runc". Needs root; see `destroy`."""
    who, runtime = kind.split("-")
    if os.geteuid() != 0:
        lacking("scenario tests need root: run `make test`")
    _need_runtime(runtime)
    base = Path(tempfile.mkdtemp(prefix=f"devbox-{kind}-"))
    base.chmod(0o755)
    user = _ordinary_user() if who == "user" else None
    box = Box(home=base / "home", user=user, runtime=runtime)
    (base / "home").mkdir(mode=0o755)
    box._give(base)
    return box


def with_runtime(box: Box, kind: str) -> Box:
    """The same home, with the OCI runtime of `kind`."""
    runtime = kind.split("-")[1]
    _need_runtime(runtime)
    return replace(box, runtime=runtime, projects=[])


def _need_runtime(runtime: str) -> None:
    if shutil.which(runtime) is None and not Path(f"/usr/sbin/{runtime}").exists():
        lacking(f"{runtime} is not installed")


def destroy(box: Box) -> None:
    """Remove a box with all its files. As root, because some belong to subordinate ids."""
    box.clear()
    shutil.rmtree(box.home.parent)


def as_ordinary_user(base: Path) -> tuple[list[str], dict[str, str]]:
    """The start of a command line that runs Python in the checkout as the ordinary user, and its environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DEVBOX_", "XDG_"))}
    start = [*_as_user(_ordinary_user(), base), "env", "-C", _MOUNTED, f"{_MOUNTED}/.venv/bin/python"]
    return start, environment | {"HOME": str(base), "USER": USER}


def _ordinary_user() -> str:
    """An ordinary user with subordinate ids, made once."""
    with files.lock_file(f"{tempfile.gettempdir()}/{USER}.lock"):  # several suites may run at once
        try:
            pwd.getpwnam(USER)
        except KeyError:
            subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", USER], check=True)
    for path in ("/etc/subuid", "/etc/subgid"):
        if f"{USER}:" not in Path(path).read_text():
            lacking(f"{USER} has no range in {path}")
    return USER


def _as_user(user: str, base: Path) -> list[str]:
    """The start of a command line that continues as the user.

    In a private mount namespace the checkout is mounted where the user can read it, and /dev/net/tun is opened, which
    some machines keep to root.
    """
    tun = base / "tun"
    if not tun.exists():
        os.mknod(tun, 0o20666, os.makedev(10, 200))
        tun.chmod(0o666)
    Path(_MOUNTED).mkdir(exist_ok=True)
    script = (
        f"mount --bind {REPOSITORY} {_MOUNTED} && mount --bind {tun} /dev/net/tun && "
        f'exec setpriv --reuid {user} --regid {user} --init-groups -- "$@"'
    )
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]


def host_network() -> set[str]:
    """Interfaces that devbox must never create in the network namespace of this process, such as the host's."""
    links = {name for _, name in socket.if_nameindex() if _LINKS.fullmatch(name)}
    done = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False)
    tables = {line for line in done.stdout.splitlines() if line.split()[-1] == "devbox"}
    return {f"link {name}" for name in links} | {f"nft {table}" for table in tables}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:120]
    except OSError:
        return ""


def _root_mount(process: Path) -> bytes:
    """The root mount of a process: for a container, its layers and its upperdir."""
    lines = (process / "mountinfo").read_bytes().splitlines()
    return b"\n".join(line for line in lines if line.split()[4] == b"/")


def _ancestors() -> set[int]:
    pid, found = os.getpid(), set()
    while pid > 1:
        found.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return found


def wait_until(condition: Any, *, seconds: float = 20, what: str = "the condition") -> Any:
    """Ask until the answer is true; an assertion failure when it never is."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := condition():
            return answer
        assert time.monotonic() < deadline, f"{what} did not come true in {seconds} s"
        time.sleep(0.02)
