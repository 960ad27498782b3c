"""Imported by every Python process with this directory on PYTHONPATH: traces which code opens or runs project files.

A line for each call site, `MODULE:FUNCTION VERB`, goes to $DEVBOX_TRACE_TO for what lies below $DEVBOX_TRACE_BELOW. The
call site is the nearest function of devbox behind its doors, which open for others.
"""

from __future__ import annotations

import fcntl
import os
import sys
from types import FrameType

_VERBS = {
    "open": "open",
    "os.listdir": "list",
    "os.scandir": "list",
    "os.mkdir": "write",
    "os.rename": "write",
    "os.remove": "write",
    "os.rmdir": "write",
    "os.symlink": "write",
    "os.link": "write",
    "os.chmod": "write",
    "os.chown": "write",
    "os.truncate": "write",
    "os.utime": "write",
    "os.exec": "run",
    "os.posix_spawn": "run",
    "subprocess.Popen": "run",
}
_DOORS = tuple(f"devbox.host.{name}" for name in ("safe_files", "path_steps", "files", "process", "programs"))
_HIGH = 200
_OPENED = ("devbox.host.safe_files", "devbox.host.path_steps")


def _begin(to: str, roots: tuple[str, ...]) -> None:
    opened = os.open(to, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    out = fcntl.fcntl(opened, fcntl.F_DUPFD_CLOEXEC, _HIGH)  # out of the way of descriptors that have their numbers
    os.close(opened)
    told: set[str] = set()
    busy = False

    def hook(event: str, args: tuple[object, ...]) -> None:
        nonlocal busy
        verb = _VERBS.get(event)
        if verb is None or busy:
            return
        busy = True
        try:
            site = _site(verb, args, roots)
            if site and site not in told:
                told.add(site)
                os.write(out, f"{site}\n".encode())
        finally:
            busy = False

    sys.addaudithook(hook)


def _site(verb: str, args: tuple[object, ...], roots: tuple[str, ...]) -> str:
    """`MODULE:FUNCTION VERB` of an access below the roots; "" for any other, and for one of no code of devbox."""
    try:
        frame: FrameType | None = sys._getframe(2)
    except ValueError:  # the interpreter itself opens its program
        return ""
    below = any(_is_below(path, roots) for path in _paths(verb, args))
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module in _OPENED:  # by a descriptor: the path alone says nothing
            own = frame.f_locals.get("self")
            below = below or _is_below(frame.f_locals.get("root") or getattr(own, "root", None), roots)
        if module.startswith("devbox.") and module not in _DOORS:
            name = frame.f_code.co_qualname.partition(".<")[0]
            return f"{module}:{name} {verb}" if below else ""
        frame = frame.f_back
    return ""


def _paths(verb: str, args: tuple[object, ...]) -> list[object]:
    if verb != "run":
        return list(args[:2])
    cwd = args[2] if len(args) > 3 else None
    return [args[0], cwd]


def _is_below(path: object, roots: tuple[str, ...]) -> bool:
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not isinstance(path, str) or not path.startswith("/"):
        return False
    real = os.path.realpath(path)
    return any(real == root or real.startswith(f"{root}/") for root in roots)


if "DEVBOX_TRACE_TO" in os.environ:
    _begin(os.environ["DEVBOX_TRACE_TO"], tuple(os.environ["DEVBOX_TRACE_BELOW"].split(":")))
