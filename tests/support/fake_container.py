"""The containers of `support.fake_engine`: state files, command lines, and pid 1 (`run_init`), which mounts files."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from support.fake_network import connect

import devbox
from devbox.errors import EngineError
from devbox.model.container import Mount

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin"
SETPRIV, NSENTER = (shutil.which(name, path=PATH) or name for name in ("setpriv", "nsenter"))
CODE = [os.path.dirname(os.path.dirname(os.path.abspath(path))) for path in (devbox.__file__, __file__)]
ENDED = ("exited", "dead")

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
    return ["setpriv", "--no-new-privs", *join, *unshare, *build_python("support.fake_container"), home]


def list_processes(data: str) -> list[int]:
    """Return the processes of containers that have a writable layer below this directory."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if f"upperdir={data}/" in read(f"/proc/{pid}/mountinfo"):
                found.append(int(pid))
    return found


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
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def run_init(home: str) -> None:
    """Mount the container's files, run its command and reap its processes. In new namespaces."""
    launch, pid = load(f"{home}/launch"), os.readlink("/proc/self")  # as the host's /proc shows it
    socket.sethostname(launch["request"].spec.name)
    if not launch["request"].joins:
        connect(os.path.dirname(home), launch["request"].spec, pid)
    mount("-t", "proc", "proc", "/proc")  # of the own namespace, as an id-mapped mount requires
    root = mount_root(launch, home)
    with open(f"{home}/pid", "w", encoding="ascii") as report:
        os.chroot(root)
        child = start_command(launch)
        report.write(f"{pid}\n")
    while True:
        try:
            ended, status = os.wait()
        except ChildProcessError:
            time.sleep(0.1)  # an idle container without processes
            continue
        if ended == child:
            os._exit(decode(os.waitstatus_to_exitcode(status)))


def start_command(launch: Mapping[str, Any]) -> int:
    """Start the container's command, if any; return its pid. Signals go to it, or end an idle container."""
    uid, gid, directory = launch["user"]
    child = 0

    def forward(number: int, _frame: object) -> None:
        if not launch["argv"]:
            os._exit(128 + number)
        if child:
            os.kill(child, number)

    for number in {*FORWARDED, signal.Signals[f"SIG{launch['request'].spec.stop_signal}"]}:
        signal.signal(number, forward)
    if launch["argv"]:
        who: Any = {"user": uid, "group": gid, "extra_groups": [], "cwd": directory}
        try:
            process = subprocess.Popen(launch["argv"], env=launch["env"], **who)
            child, process.returncode = process.pid, 0  # `run_init` reaps it, not Popen
        except OSError as error:
            os.write(2, f"cannot start {launch['argv'][0]}: {error.strerror}\n".encode())
            os._exit(127 if isinstance(error, FileNotFoundError) else 126)
    return child


def mount_root(launch: Mapping[str, Any], home: str) -> str:
    """Mount the root file system with everything below it; return its path."""
    request, layer, root = launch["request"], launch["layer"], f"{home}/root"
    mount_overlay(root, launch["lowers"], layer)
    for kind in ("proc", "sysfs"):
        mount("-t", kind, kind, make_directory(f"{root}/{kind.removesuffix('fs')}"))
    mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", make_directory(f"{root}/dev"))
    mount("-t", "devpts", "-o", "newinstance,ptmxmode=666", "devpts", make_directory(f"{root}/dev/pts"))
    mount("-t", "tmpfs", "tmpfs", make_directory(f"{root}/dev/shm"))
    for name in DEVICES:
        mount("--bind", f"/dev/{name}", make_file(f"{root}/dev/{name}"))
    for name, target in LINKS.items():
        os.symlink(target, f"{root}/dev/{name}")
    mount("--bind", f"{os.path.dirname(home)}/hosts", make_file(resolve(root, "/etc/hosts")))
    for each in request.spec.mounts:
        mount_source(each, launch, resolve(root, each.target))
    for number, (path, text) in enumerate(request.files.items()):
        write(f"{home}/file{number}", text)
        mount("--bind", f"{home}/file{number}", make_file(resolve(root, path)))
    make_directory(resolve(root, launch["user"][2]))
    if request.spec.isolation.read_only:
        mount("-o", "remount,bind,ro", root)
    return root


def mount_source(each: Mount, launch: Mapping[str, Any], target: str) -> None:
    """Mount what a container's spec mounts."""
    data, source, idmap = launch["data"], each.source, []
    if each.kind == "tmpfs":
        mount("-t", "tmpfs", "tmpfs", make_directory(target))
        return
    if each.kind == "image":
        changed = (f"{data}/layers/{each.top}/upper",) if each.top else ()
        mount_overlay(make_directory(target), (*changed, *launch["beside"][source]), "")
        return
    if each.kind in ("volume", "cache"):
        source = f"{data}/{each.kind}s/{each.source}"
        if not os.path.isdir(source):
            make_directory(target)
            make_directory(os.path.dirname(source))
            subprocess.run(["cp", "-a", target, source], check=True)
    elif each.kind == "workspace" and launch["owner"][0]:
        idmap = [
            "-o",
            f"X-mount.idmap={' '.join(map_owner(*pair) for pair in zip('ug', launch['owner'], strict=True))}",
        ]
    if each.private:
        own = f"{data}/layers/{{}}/private/{each.target.replace('/', '%')}"
        changed = (f"{own.format(each.top)}/upper",) if each.top else ()
        mount_overlay(make_directory(target), (*changed, source), own.format(launch["request"].spec.name))
        return
    mount("--bind", *idmap, source, make_directory(target) if os.path.isdir(source) else make_file(target))
    if each.read_only:
        mount("-o", "remount,bind,ro", target)


def mount_overlay(target: str, lowers: tuple[str, ...], layer: str) -> None:
    """Mount these directories, topmost first, with a writable layer; read-only without one."""
    options = f"lowerdir={':'.join(lowers)}"
    if layer:
        options += f",upperdir={make_directory(f'{layer}/upper')},workdir={make_directory(f'{layer}/work')}"
    mount("-t", "overlay", "-o", options, "overlay", make_directory(target))


def map_owner(kind: str, owner: int) -> str:
    """Return an idmap by which an owner's files are root's; others keep distinct ids."""
    return f"{kind}:{owner}:0:1 {kind}:0:1:{owner} {kind}:{owner + 1}:{owner + 1}:{65535 - owner}"


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)


def make_directory(path: str) -> str:
    os.makedirs(path, exist_ok=True)
    return path


def make_file(path: str) -> str:
    make_directory(os.path.dirname(path))
    with open(path, "ab"):
        return path


def resolve(root: str, target: str) -> str:
    """Return the host's path of a container's path; symbolic links stay below `root`."""
    path = ""
    for part in filter(None, target.split("/")):
        here, path = path, f"{path}/{part}"
        if os.path.islink(f"{root}{path}"):
            path = resolve(root, os.path.normpath(os.path.join(here or "/", os.readlink(f"{root}{path}"))))[len(root) :]
    return f"{root}{path}"


if __name__ == "__main__":
    run_init(sys.argv[1])
