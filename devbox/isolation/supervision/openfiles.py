"""How many files may be open: in a supervisor as many as the kernel lets it, in what it starts as many as it was given.

crun passes the limit of its caller on to what it executes in a container; there are programs that close every number
below it when they start, or can't use numbers above 1023.
"""

from __future__ import annotations

import resource

from devbox.errors import EngineError

_EACH = 6  # a container: its log and its FIFO; taken over, pid 1 and command; its probe; the reports about its egress
_OTHERS = 32  # sockets, clients, what is open for a moment
_given: list[tuple[int, int]] = []  # the limit that this process was started with, where it has another now


def take_all() -> None:
    """Let this process have as many files open as its hard limit says."""
    given = resource.getrlimit(resource.RLIMIT_NOFILE)
    _given[:] = [given]
    resource.setrlimit(resource.RLIMIT_NOFILE, (given[1], given[1]))


def give_back(pid: int = 0) -> None:
    """Let a child, by default this process, have as many as before `take_all`, just before it becomes a program.

    Earlier it could open nothing, where the files it inherited are more.
    """
    for given in _given:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, given)


def check_room(containers: int) -> None:
    """EngineError where a supervisor of so many containers might come to have more files open than it may."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = _EACH * containers + _OTHERS
    if most != resource.RLIM_INFINITY and needed > most:
        raise EngineError(
            f"the instance's supervisor may have {most} files open, which is too few for {containers} containers",
            remedy=f"devbox down, then ulimit -n {needed} and devbox up",
        )
