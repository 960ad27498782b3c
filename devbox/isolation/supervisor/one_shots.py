"""One-shot containers: in the instance's network for the lifetime of their `devbox run` process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from devbox.errors import DevboxError
from devbox.isolation import forks, launch, trees
from devbox.isolation.liveness import identify
from devbox.isolation.state import OneShot
from devbox.isolation.supervisor import orphans
from devbox.isolation.supervisor.loop import Callback, Loop, log_error
from devbox.isolation.supervisor.network import InstanceNetwork
from devbox.isolation.types import InstanceContext, NetworkAccess, ProcessRef

_AGAIN = 1.0  # seconds until leftovers of a killed one-shot are removed again


class OneShots:
    """Assigns addresses to one-shots and cleans up after them, including killed ones."""

    def __init__(self, loop: Loop, context: InstanceContext, segment: InstanceNetwork, changed: Callback) -> None:
        self._loop = loop
        self._context = context
        self._segment = segment
        self._changed = changed
        self._one_shots: dict[str, OneShot] = {}

    @property
    def entries(self) -> tuple[OneShot, ...]:
        """The current one-shots."""
        return tuple(self._one_shots.values())

    def admit(
        self, client: int, name: str, oci_id: str, top: str, reach: NetworkAccess, *, joined: bool = False
    ) -> OneShot:
        """Register a one-shot container of the process `client`. `joined`: shares another container's processes."""
        process = identify(client) or ProcessRef(client, 0)
        one_shot = OneShot(name, self._segment.lease_node(name), process, oci_id, top, reach, joined)
        self._track(one_shot)
        self._changed()
        self._segment.set_access(name, reach)
        return one_shot

    def adopt(self, guests: Iterable[OneShot]) -> None:
        """Adopt the one-shots of a dead supervisor, after the network has adopted them."""
        for one_shot in guests:
            self._track(one_shot)

    def remove(self, name: str, *, killed: bool = False) -> None:
        """Remove everything of a one-shot whose container has exited or whose client was `killed`."""
        one_shot = self._one_shots.pop(name, None)
        if one_shot is None:
            return
        self._remove_container(one_shot, killed=killed)
        if killed:  # its runtime may have been interrupted within a step, and created one more thing
            self._loop.call_later(_AGAIN, lambda: self._retry_removal(one_shot))
        self._segment.release_node(name)
        self._changed()
        if os.path.lexists(one_shot.top):
            child = forks.fork(lambda: trees.remove(self._context.idmap, one_shot.top))
            os.close(child.error_fd)

    def remove_all(self) -> None:
        """Remove all one-shot containers, with their runtimes, which may be about to create one."""
        for name in tuple(self._one_shots):
            self.remove(name, killed=True)

    def _remove_container(self, one_shot: OneShot, *, killed: bool) -> None:
        """Kill the processes and delete the container; failures are logged and do not stop the cleanup."""
        if killed:
            with _log_errors():
                orphans.kill_runtime(self._context.run_dir, one_shot.oci_id)
        if one_shot.joined or killed:  # the runtime does not know all processes, or died before it knew any
            with _log_errors():
                orphans.kill_one_shot(self._context.holder, one_shot.name, rootless=self._context.idmap.rootless)
        with _log_errors():
            launch.delete(self._context, one_shot.name, one_shot.oci_id)

    def _retry_removal(self, one_shot: OneShot) -> None:
        if one_shot.name not in self._one_shots:  # otherwise a new one-shot has the name
            self._remove_container(one_shot, killed=True)

    def _track(self, one_shot: OneShot) -> None:
        self._one_shots[one_shot.name] = one_shot
        self._loop.watch_process(one_shot.client.pid, lambda _: self.remove(one_shot.name, killed=True))


@contextlib.contextmanager
def _log_errors() -> Iterator[None]:
    """Log an error and continue."""
    try:
        yield
    except (DevboxError, OSError) as error:
        log_error(error)
