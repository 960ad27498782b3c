"""One-shot containers: run by a `devbox run`, guests in the instance's network as long as that process lives."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from devbox.errors import DevboxError
from devbox.isolation import forks, launch, trees
from devbox.isolation.state import OneShot, identify
from devbox.isolation.supervisor import orphans
from devbox.isolation.supervisor.loop import Callback, Loop, log_error
from devbox.isolation.supervisor.network import InstanceNetwork
from devbox.isolation.types import InstanceContext, NetworkAccess, ProcessRef

_AGAIN = 1.0  # seconds until what is left of a killed one-shot is looked for once more


class OneShots:
    """Gives addresses to one-shots and cleans up after them, also after those that were killed."""

    def __init__(self, loop: Loop, context: InstanceContext, segment: InstanceNetwork, changed: Callback) -> None:
        self._loop = loop
        self._context = context
        self._segment = segment
        self._changed = changed
        self._guests: dict[str, OneShot] = {}

    @property
    def entries(self) -> tuple[OneShot, ...]:
        """Who is there."""
        return tuple(self._guests.values())

    def admit(
        self, client: int, name: str, oci_id: str, top: str, reach: NetworkAccess, *, joined: bool = False
    ) -> OneShot:
        """A new one-shot container of the process `client`. `joined`: among the processes of another container."""
        process = identify(client) or ProcessRef(client, 0)
        guest = OneShot(name, self._segment.lease_node(name), process, oci_id, top, reach, joined)
        self._track(guest)
        self._changed()
        self._segment.set_access(name, reach)
        return guest

    def adopt(self, guests: Iterable[OneShot]) -> None:
        """Those that a dead supervisor had admitted. The segment has adopted them before."""
        for guest in guests:
            self._track(guest)

    def remove(self, name: str, *, killed: bool = False) -> None:
        """Its container has ended, or its client was `killed`: leave nothing of it."""
        guest = self._guests.pop(name, None)
        if guest is None:
            return
        self._remove_container(guest, killed=killed)
        if killed:  # its runtime may have been in the middle of a step, and have made one thing more
            self._loop.call_later(_AGAIN, lambda: self._retry_removal(guest))
        self._segment.release_node(name)
        self._changed()
        if os.path.lexists(guest.top):
            child = forks.fork(lambda: trees.remove(self._context.idmap, guest.top))
            os.close(child.error_fd)

    def remove_all(self) -> None:
        """The instance goes down: no client is waited for, and a runtime may be about to make a container."""
        for name in tuple(self._guests):
            self.remove(name, killed=True)

    def _remove_container(self, guest: OneShot, *, killed: bool) -> None:
        """End its processes and delete its container. What fails is written down, and the next step still taken."""
        if killed:
            with _log_errors():
                orphans.kill_runtime(self._context.run_dir, guest.oci_id)
        if guest.joined or killed:  # the runtime may not know of every process, or died before it knew of any
            with _log_errors():
                orphans.kill_one_shot(self._context.holder, guest.name, rootless=self._context.idmap.rootless)
        with _log_errors():
            launch.delete(self._context, guest.name, guest.oci_id)

    def _retry_removal(self, guest: OneShot) -> None:
        if guest.name not in self._guests:  # a new one-shot may have its name
            self._remove_container(guest, killed=True)

    def _track(self, guest: OneShot) -> None:
        self._guests[guest.name] = guest
        self._loop.watch_process(guest.client.pid, lambda _: self.remove(guest.name, killed=True))


@contextlib.contextmanager
def _log_errors() -> Iterator[None]:
    """Write a failure down and go on."""
    try:
        yield
    except (DevboxError, OSError) as error:
        log_error(error)
