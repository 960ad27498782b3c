"""One-shot containers: run by a `devbox run`, guests in the instance's network as long as that process lives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from devbox.errors import DevboxError
from devbox.isolation import forks, launch, trees
from devbox.isolation.living import identify
from devbox.isolation.state import Guest
from devbox.isolation.supervision import strays
from devbox.isolation.supervision.loop import Callback, Loop, complain
from devbox.isolation.supervision.segment import Segment
from devbox.isolation.types import Context, ProcessRef, Reach

_AGAIN = 1.0  # seconds until what is left of a killed one-shot is looked for once more


class Guests:
    """Gives addresses to one-shots and cleans up after them, also after those that were killed."""

    def __init__(self, loop: Loop, context: Context, segment: Segment, changed: Callback) -> None:
        self._loop = loop
        self._context = context
        self._segment = segment
        self._changed = changed
        self._guests: dict[str, Guest] = {}

    @property
    def all(self) -> tuple[Guest, ...]:
        """Who is there."""
        return tuple(self._guests.values())

    def admit(self, client: int, name: str, oci_id: str, top: str, reach: Reach, *, joined: bool = False) -> Guest:
        """A new one-shot container of the process `client`. `joined`: among the processes of another container."""
        process = identify(client) or ProcessRef(client, 0)
        guest = Guest(name, self._segment.lease(name), process, oci_id, top, reach, joined)
        self._keep(guest)
        self._changed()
        self._segment.reach(name, reach)
        return guest

    def adopt(self, guests: Iterable[Guest]) -> None:
        """Those that a dead supervisor had admitted. The segment has adopted them before."""
        for guest in guests:
            self._keep(guest)

    def dismiss(self, name: str, *, killed: bool = False) -> None:
        """Its container has ended, or its client was `killed`: leave nothing of it."""
        guest = self._guests.pop(name, None)
        if guest is None:
            return
        self._remove(guest, killed=killed)
        if killed:  # its runtime may have been in the middle of a step, and have made one thing more
            self._loop.after(_AGAIN, lambda: self._remove_again(guest))
        self._segment.release(name)
        self._changed()
        if os.path.lexists(guest.top):
            child = forks.fork(lambda: trees.remove(self._context.idmap, guest.top))
            os.close(child.error_fd)

    def dismiss_all(self) -> None:
        """The instance goes down: no client is waited for, and a runtime may be about to make a container."""
        for name in tuple(self._guests):
            self.dismiss(name, killed=True)

    def _remove(self, guest: Guest, *, killed: bool) -> None:
        """End its processes and delete its container. What fails is written down, and the next step still taken."""
        if killed:
            with _complaining():
                strays.end_runtime(self._context.run_dir, guest.oci_id)
        if guest.joined or killed:  # the runtime may not know of every process, or died before it knew of any
            with _complaining():
                strays.end_joined(self._context.holder, guest.name, rootless=self._context.idmap.rootless)
        with _complaining():
            launch.delete(self._context, guest.name, guest.oci_id)

    def _remove_again(self, guest: Guest) -> None:
        if guest.name not in self._guests:  # a new one-shot may have its name
            self._remove(guest, killed=True)

    def _keep(self, guest: Guest) -> None:
        self._guests[guest.name] = guest
        self._loop.on_stranger_exit(guest.client.pid, lambda _: self.dismiss(guest.name, killed=True))


@contextlib.contextmanager
def _complaining() -> Iterator[None]:
    """Write a failure down and go on."""
    try:
        yield
    except (DevboxError, OSError) as error:
        complain(error)
