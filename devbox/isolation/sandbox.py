"""A throw-away place for what makes images: namespaces that die with devbox."""

from __future__ import annotations

import os
import select
import signal

from devbox.isolation import forks, syscalls
from devbox.isolation import idmap as idmaps
from devbox.isolation.types import IdMap


def enter(idmap: IdMap, *, parent: int) -> None:
    """Make this process root of the store in private mount and pid namespaces (rootless: and its user namespace).

    It forks: the caller goes on in the child as pid 1 of the pid namespace; the waiting half mirrors its exit code.
    When `parent` (devbox, whose child this process is) dies, everything in the pid namespace is killed at once.
    The process must be single-threaded. Root keeps host ids: what containers write is owned by the idmap's range.
    """
    _die_with(parent)
    if idmap.rootless:
        _enter_user_namespace(idmap)
        _die_with(parent)  # the kernel forgot it when the user id changed
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID)
    watched, held = os.pipe()
    child = os.fork()
    if child:
        os.close(watched)
        _mirror(child)
    os.close(held)
    _die_with_parent()
    if select.select([watched], [], [], 0)[0]:  # its other end was closed: the parent died before we could say so
        os._exit(1)
    syscalls.mount(None, "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("proc", "/proc", "proc", flags=flags)


def _enter_user_namespace(idmap: IdMap) -> None:
    """Become root of a new user namespace with the store's map, which a child left outside writes."""
    ready, waiting = os.pipe(), os.getpid()

    def write_maps() -> None:
        os.close(ready[1])
        os.read(ready[0], 1)
        idmaps.write_maps(waiting, idmap)

    helper = forks.fork(write_maps)
    os.close(ready[0])
    idmaps.new_user_namespace()
    os.close(ready[1])
    forks.wait(helper)
    idmaps.become_root()


def _die_with(parent: int) -> None:
    """Be killed when the parent dies; end at once where it died before this was said."""
    _die_with_parent()
    if os.getppid() != parent:
        os._exit(1)


def _die_with_parent() -> None:
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)


def _mirror(child: int) -> None:
    """Wait for the other half and end as it ended."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(code if code >= 0 else 128 - code)
