"""Fresh root directories of Debian and Ubuntu, entered with their own mounts, processes, network and host name.

    with roots.unpack("noble") as root, roots.Room(root) as room:
        room.run("apt-get install -y /packages/devbox.deb")
        room.run("devbox version", user="ann")

`enter(root, command)` is a room for one command. A room has root's rights on the host and the host's cgroups; all
processes in it end with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from support.machine import lacking

CACHE = Path("/tmp/devbox-test-cache/roots")
_KEYRINGS = Path("/usr/share/keyrings")
# Suite → mirror, keyring, components.
SUITES = {
    "bookworm": ("http://deb.debian.org/debian", "debian-archive-keyring.gpg", "main"),
    "trixie": ("http://deb.debian.org/debian", "debian-archive-keyring.gpg", "main"),
    "noble": ("http://archive.ubuntu.com/ubuntu", "ubuntu-archive-keyring.gpg", "main,universe"),
}
_PROGRAMS = ("mmdebstrap", "unshare", "nsenter", "pasta", "catatonit", "busybox")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
HOST_CA = "/usr/local/share/ca-certificates/host.crt"  # in a room: the CAs of the host, added to those of the system
# Files of the host → place in a room. The bundle is made again when ca-certificates is installed.
_HOST_FILES = {"/etc/resolv.conf": "/etc/resolv.conf", _BUNDLE: HOST_CA}

# In the new namespaces: $1 is the root directory.
_SET_UP = r"""
set -eu
cd "$1"
mount --bind . .
cd "$1"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
mkdir dev/pts dev/shm dev/net
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mknod -m 666 dev/net/tun c 10 200
mknod -m 666 dev/fuse c 10 229
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr
mount -t tmpfs -o mode=755 tmpfs run
mkdir -p run/lock run/host
cp "$2" run/init
cp "$(command -v busybox)" run/busybox
for pair in $3; do mkdir -p "run/host/${pair%%=*}"; mount --rbind "${pair#*=}" "run/host/${pair%%=*}"; done
hostname room
ip link set lo up 2>/dev/null || true
mkdir -p .old
pivot_root . .old
/run/busybox umount -l /.old
/run/busybox rmdir /.old
exec /run/init -P
"""


def require() -> None:
    """Skip, or fail in CI, if the host cannot make rooms."""
    if os.geteuid() != 0:
        lacking("rooms require root")
    if missing := [name for name in _PROGRAMS if not shutil.which(name)]:
        lacking(f"programs are missing: {', '.join(missing)}")


def _bootstrap(suite: str) -> Path:
    """Return the tarball of a minimal system with apt, made once per host."""
    path = CACHE / f"{suite}.tar"
    if not path.exists():
        mirror, keyring, components = SUITES[suite]
        CACHE.mkdir(parents=True, exist_ok=True)
        made = path.with_suffix(f".{os.getpid()}")
        argv = ["mmdebstrap", "--quiet", "--variant=apt", f"--components={components}", "--format=tar"]
        argv += [f"--keyring={_KEYRINGS / keyring}", suite, str(made), mirror]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode != 0:
            lacking(f"cannot bootstrap {suite}: {done.stderr[-500:]}")
        made.rename(path)
    return path


@contextmanager
def unpack(suite: str) -> Iterator[Path]:
    """Yield a fresh root directory, which is removed at the end. Its user `ann` has id 1000 and subordinate ids."""
    place = Path(tempfile.mkdtemp(prefix="devbox-room-"))
    root = place / "root"
    root.mkdir()
    try:
        subprocess.run(["tar", "-xpf", str(_bootstrap(suite)), "-C", str(root)], check=True)
        for source, place_in_room in _HOST_FILES.items():
            target = Path(f"{root}{place_in_room}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copyfile(source, target)
        (root / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 room\n")
        _add_user(root / "etc", root / "home/ann")
        yield root
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", str(place)], check=True)


def _add_user(etc: Path, home: Path) -> None:
    """Add the user without a program: a minimal Ubuntu has no useradd."""
    lines = {"passwd": "ann:x:1000:1000::/home/ann:/bin/bash", "group": "ann:x:1000:", "shadow": "ann:*:20000::::::"}
    lines |= dict.fromkeys(("subuid", "subgid"), "ann:100000:65536")
    for name, line in lines.items():
        with (etc / name).open("a") as file:
            file.write(f"{line}\n")
    home.mkdir(parents=True)
    os.chown(home, 1000, 1000)


class Room:
    """A root directory with processes, mounts and network of its own.

    `binds`: name below /run/host → directory of the host.
    """

    def __init__(self, root: Path, *, binds: Mapping[str, Path] | None = None) -> None:
        self.root = root
        self._binds = dict(binds or {})
        self._pasta: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        require()
        binds = " ".join(f"{name}={path}" for name, path in self._binds.items())
        init = shutil.which("catatonit") or ""
        argv = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--net", "--fork", "--kill-child", "--propagation"]
        argv += ["private", "bash", "-c", _SET_UP, "bash", str(self.root), init, binds]
        self._holder = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            self._pid = self._wait_for_init()
            self._connect()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pasta:
            self._pasta.terminate()
            self._pasta.wait()
        self._holder.kill()  # --kill-child: pid 1 of the room, and with it all others
        self._holder.wait()
        if self._holder.stderr:
            self._holder.stderr.close()

    def _wait_for_init(self) -> int:
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if self._holder.poll() is not None:
                assert self._holder.stderr
                lacking(f"cannot make a room: {self._holder.stderr.read()}")
            pid = children.read_text().strip()
            if pid and Path(f"/proc/{pid}/comm").read_text().strip() == "init":
                return int(pid)
            time.sleep(0.02)
        raise TimeoutError("the room did not start")

    def _connect(self) -> None:
        """Give the room the host's network, through pasta: addresses of the host's loopback are not reachable."""
        options = ["--config-net", "-q", "--foreground", "--runas", "0", "--no-map-gw"]
        options += ["-t", "none", "-u", "none", "-T", "none", "-U", "none"]
        file = self.root.parent / "netns"  # pasta may not open the namespace by the process
        file.touch()
        bind = 'mount --bind "$1" "$2"; shift 2; exec "$@"'
        private = ["unshare", "--mount", "bash", "-ec", bind, "bash", f"/proc/{self._pid}/ns/net", str(file)]
        self._pasta = subprocess.Popen([*private, "pasta", *options, "--netns", str(file)])
        self._wait_for_address()

    def _wait_for_address(self) -> None:
        routes, deadline = Path(f"/proc/{self._pid}/net/route"), time.monotonic() + 30
        while time.monotonic() < deadline:
            if len(routes.read_text().splitlines()) > 1:
                return
            if self._pasta and self._pasta.poll() is not None:
                lacking("pasta cannot connect the room to the network of the host")
            time.sleep(0.02)
        raise TimeoutError("the room has no network")

    def start(self, command: str, *, user: str = "", cwd: str = "", env: Mapping[str, str] | None = None) -> list[str]:
        """Return the command line that runs a shell command in the room, as root or as this user."""
        home = cwd or (f"/home/{user}" if user else "/root")
        variables = {"PATH": _PATH, "HOME": f"/home/{user}" if user else "/root", "LANG": "C.UTF-8", "TERM": "dumb"}
        variables |= {"USER": user or "root", "DEBIAN_FRONTEND": "noninteractive", "NO_COLOR": "1", **(env or {})}
        caller = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"] if user else []
        enter = ["nsenter", "--target", str(self._pid), "--mount", "--pid", "--ipc", "--uts", "--net", "--root"]
        names = [f"{name}={value}" for name, value in variables.items()]
        return [*enter, f"--wdns={home}", *caller, "env", "-i", *names, "bash", "-c", command]

    def run(
        self,
        command: str,
        *,
        user: str = "",
        cwd: str = "",
        env: Mapping[str, str] | None = None,
        check: bool = True,
        timeout: float = 900,
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command to its end. AssertionError with its output if it fails, unless `check` is False."""
        argv = self.start(f"set -eo pipefail\n{command}", user=user, cwd=cwd, env=env)
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=timeout
        )
        assert not check or done.returncode == 0, (
            f"{command}: {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-6000:]}"
        )
        return done


def enter(
    root: Path, command: str, *, user: str = "", cwd: str = "", binds: Mapping[str, Path] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one shell command in a room of its own; what it leaves running ends with it."""
    with Room(root, binds=binds) as room:
        return room.run(command, user=user, cwd=cwd, check=False)
