"""Data that services are ready for tests with: made once by whichever cell comes first, a copy for all others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from devbox.engines.contract import Engine
from devbox.errors import CommandFailed, DevboxError
from devbox.matrix.cells import SHARED, Wanted
from devbox.model import ids
from devbox.plan import cellinputs, order

_DIGITS = 16
_KEPT = 16  # the newest


class ReadyData:
    """The copies of one project. Methods may be called from several threads, for different cells."""

    def __init__(self, engine: Engine, project: str, files: Callable[[tuple[str, ...]], Mapping[str, str]]) -> None:
        """`files` reads what globs of the project name."""
        self._engine = engine
        self._shared = ids.cell_id(project, SHARED)
        self._files = files
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._failed: dict[str, DevboxError] = {}

    def provide(self, wanted: Wanted, *, bring_up: Callable[[], None], run: Callable[[tuple[str, ...]], int]) -> None:
        """Give a new cell its data, or make them in it. `bring_up` starts the cell, `run` a command in its tests.

        Where its services keep nothing in volumes, the commands run in every cell.
        """
        ready = wanted.tests.ready
        if ready is None:
            return
        key = cellinputs.ready_key(wanted.resolved, wanted.tests, self._files(ready.inputs))
        name = key.removeprefix("sha256:")[:_DIGITS]
        with self._lock(name):
            if name in self._failed:
                raise self._failed[name]
            kept = self._engine.snapshots(wanted.resolved.instance, kept_by=self._shared)
            if any(each.name == name for each in kept.all()):
                kept.restore(name)
                return
            try:
                self._make(wanted, bring_up=bring_up, run=run)
            except CommandFailed as error:
                self._failed[name] = error
                raise
            if volumes := self._engine.observe(wanted.resolved.instance).volumes:
                self._stop(wanted)
                kept.save(name, volumes)
                for old in kept.all()[:-_KEPT]:
                    kept.forget(old.name)

    def _make(self, wanted: Wanted, *, bring_up: Callable[[], None], run: Callable[[tuple[str, ...]], int]) -> None:
        assert wanted.tests.ready is not None  # noqa: S101 - for mypy: nobody comes here without
        bring_up()
        for command in wanted.tests.ready.commands:
            argv = ("/bin/sh", "-c", command) if isinstance(command, str) else command
            if code := run(argv):
                shown = command if isinstance(command, str) else " ".join(command)
                raise CommandFailed(
                    f"services_ready_from failed: `{shown}` ended with {code}",
                    where=wanted.tests.container.where,
                    remedy=f"look around: devbox test --shell {wanted.cell.name}",
                )

    def _stop(self, wanted: Wanted) -> None:
        """Nothing writes to the volumes from here on."""
        instance, containers = wanted.resolved.instance, wanted.resolved.containers
        for name in self._engine.observe(instance).containers:
            if name not in containers or name == wanted.tests.container.name:
                self._engine.remove(instance, name)
        for name in order.dependants_first(containers):
            if name != wanted.tests.container.name:
                self._engine.stop(instance, name)

    def _lock(self, name: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(name, threading.Lock())
