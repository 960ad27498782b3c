"""The containers of `support.fake_engine`: files, command lines, pid 1 (`run_init`) and supervisor of each container."""

from __future__ import annotations

import contextlib
import ctypes
import datetime as dt
import fcntl
import json
import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import devbox
from devbox.errors import EngineError
from devbox.model.container import Health, Mount

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"
SETPRIV, NSENTER = (shutil.which(name, path=PATH) or name for name in ("setpriv", "nsenter"))
CODE = [os.path.dirname(os.path.dirname(os.path.abspath(path))) for path in (devbox.__file__, __file__)]
ENDED = ("exited", "dead")
CRASHES = 3  # without a stable time in between: it keeps crashing
SETTLE, STABLE, LONGEST_PAUSE = 0.3, 10.0, 30.0  # seconds
CLONE_NEWNET = 0x40000000

# Files.


def read(path: str) -> str:
    """Return a file's text; "" if it does not exist."""
    try:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def load(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        return pickle.load(file)  # type: ignore[no-any-return]


def list_directory(path: str) -> list[str]:
    return sorted(os.listdir(path)) if os.path.isdir(path) else []


def read_state(home: str) -> Any:
    """Return the state of a container, None if it has none; dead if its supervisor was killed."""
    text, alive = read(f"{home}/state"), is_supervised(home)
    row = json.loads(text) if text else None
    if row and not alive and row["state"] not in ENDED:
        row = json.loads(read(f"{home}/state"))  # its supervisor may have ended in between
        if row["state"] not in ENDED:
            row |= {"state": "dead", "pid": None, "reason": "its supervisor was killed"}
    return row


def read_rows(run: str) -> dict[str, Any]:
    rows = {name: read_state(f"{run}/{name}") for name in list_directory(run)}
    return {name: row for name, row in rows.items() if row}


def is_supervised(home: str) -> bool:
    try:
        with open(f"{home}/lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except BlockingIOError:
        return True
    return False


def request_stop(home: str, timeout: float | None) -> None:
    with contextlib.suppress(OSError):  # no supervisor reads
        control = os.open(f"{home}/control", os.O_WRONLY | os.O_NONBLOCK)
        os.write(control, f"{'' if timeout is None else timeout}\n".encode())
        os.close(control)


def wait_for(condition: Callable[[], Any], complaint: str, *, seconds: float | None = 30) -> None:
    deadline = time.monotonic() + (seconds or 1e9)
    while not condition():
        if time.monotonic() > deadline:
            raise EngineError(complaint)
        time.sleep(0.01)


# Programs.


def spawn(module: str, *words: str, log: str, fds: tuple[int, ...] = (), start: tuple[str, ...] = ()) -> None:
    """Run a module of Python in a process that outlives this one."""
    with open(log, "ab") as output:
        argv = ["setsid", "--fork", *start, *build_python(module), *words]
        streams: Any = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
        subprocess.run(argv, env={"PATH": PATH}, pass_fds=fds, check=True, **streams)


def build_python(module: str) -> list[str]:
    """Return the start of a command line that runs a module with this devbox."""
    return ["env", f"PYTHONPATH={':'.join(CODE)}", sys.executable, "-P", "-s", "-m", module]


def decode(code: int) -> int:
    """Return the exit code as in a shell."""
    return 128 - code if code < 0 else code


def enter(pid: int, launch: Mapping[str, Any]) -> list[str]:
    """Return the start of a command line that runs in a container; `pid` is that of its init."""
    uid, gid, directory = launch["user"]
    who = (f"--setuid={uid}", f"--setgid={gid}", f"--wdns={directory}", "--root")
    spaces = ("--mount", "--pid", "--uts", "--ipc", "--net")
    return [SETPRIV, "--no-new-privs", NSENTER, f"--target={pid}", *spaces, *who, "--"]


def build_init(home: str, *, joins: int = 0) -> list[str]:
    """Return the command line of a container's init; `joins`: pid of the container whose namespaces are shared."""
    own = ("--mount", "--uts") if joins else ("--mount", "--uts", "--pid", "--ipc", "--net")
    join = ["nsenter", f"--target={joins}", "--pid", "--ipc", "--net", "--"] if joins else []
    unshare = ["unshare", *own, "--fork", "--kill-child", "--"]
    return ["setpriv", "--no-new-privs", *join, *unshare, *build_python("support.fake_container"), "init", home]


def kill_leftovers(mark: str) -> None:
    """Kill all processes in mount namespaces with this mark, except those of the host."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if mark in read(f"/proc/{pid}/mountinfo"):
                os.kill(int(pid), signal.SIGKILL)


def find_user(user: str, roots: tuple[str, ...]) -> tuple[int, int, str]:
    """Return uid, gid and home directory of a user of an image; `roots`: its layers, topmost first."""
    name, _, group = user.partition(":")
    passwd = next((text for root in roots if (text := read(f"{root}/etc/passwd"))), "")
    for line in passwd.splitlines():
        fields = line.split(":")
        if name in (fields[0], fields[2]):
            return int(fields[2]), int(group) if group.isdigit() else int(fields[3]), fields[5]
    if not name.isdigit():
        raise EngineError(f"user {name} not found in the image")
    return int(name), int(group) if group.isdigit() else 0, "/"


# Pid 1 of a container.

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
FORWARDED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}


def run_init(home: str) -> None:
    """Mount the container's files, run its command and reap its processes. In new namespaces."""
    launch, pid = load(f"{home}/launch"), os.readlink("/proc/self")  # as the host's /proc shows it
    spec, run = launch["request"].spec, os.path.dirname(home)
    socket.sethostname(spec.name)
    if os.getpid() == 1:
        from support.fake_network import connect

        connect(run, spec, pid)
    root = mount_root(launch, home)
    mount("--bind", f"{run}/hosts", create_file(f"{root}/etc/hosts"))
    os.makedirs(resolve(root, launch["user"][2]), exist_ok=True)
    with open(f"{home}/pid.new", "w", encoding="ascii") as report:
        os.chroot(root)
        os.chdir("/")
        child = start_command(launch)
        report.write(pid)
        report.flush()
        report_path = f"/proc/self/fd/{report.fileno()}"  # the host's files are out of reach: `read_pid` waits for text
        assert report_path
    while True:
        try:
            ended, status = os.wait()
        except ChildProcessError:
            time.sleep(0.1)  # an idle container without processes
            continue
        if ended == child:
            os._exit(decode(os.waitstatus_to_exitcode(status)))
