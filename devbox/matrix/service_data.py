"""Prepared data of services: created once by the first cell, copied for all others."""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from devbox.engines import capabilities
from devbox.engines.engine import Engine
from devbox.errors import CommandFailed, DevboxError
from devbox.images.build.inputs import translate_glob
from devbox.matrix.cells import SHARED, DesiredCell
from devbox.model import ids
from devbox.plan import matrix, order

_DIGITS = 16
_KEPT = 16  # newest copies to keep


class ReadyData:
    """Prepared data of one project. Methods are thread-safe for different cells."""

    def __init__(self, engine: Engine, project: str, files: Callable[[tuple[str, ...]], Mapping[str, str]]) -> None:
        """`files` returns the digests of files by patterns."""
        self._engine = engine
        self._shared = ids.compute_cell_id(project, SHARED)
        self._files = files
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._failed: dict[str, DevboxError] = {}

    def provide(
        self, desired: DesiredCell, *, bring_up: Callable[[], None], run: Callable[[tuple[str, ...]], int]
    ) -> None:
        """Provide a new cell's data, or create it there. `bring_up` starts the cell, `run` executes a command in it.

        If its services have no volumes, the commands run in every cell.
        """
        ready = desired.tests.ready
        if ready is None:
            return
        key = matrix.compute_ready_key(desired.resolved, desired.tests, self._files(ready.inputs))
        name = key.removeprefix("sha256:")[:_DIGITS]
        with self._find_lock(name):
            if name in self._failed:
                raise self._failed[name]
            kept = capabilities.open_snapshots(self._engine, desired.resolved.instance, kept_by=self._shared)
            if any(each.name == name for each in kept.list_all()):
                kept.restore(name)
                return
            try:
                self._make(desired, bring_up=bring_up, run=run)
            except CommandFailed as error:
                self._failed[name] = error
                raise
            if volumes := self._engine.observe(desired.resolved.instance).volumes:
                self._stop(desired)
                kept.save(name, volumes)
                for old in kept.list_all()[:-_KEPT]:
                    kept.delete(old.name)

    def _make(
        self, desired: DesiredCell, *, bring_up: Callable[[], None], run: Callable[[tuple[str, ...]], int]
    ) -> None:
        assert desired.tests.ready is not None  # noqa: S101 - for mypy: checked by the caller
        bring_up()
        for command in desired.tests.ready.commands:
            argv = ("/bin/sh", "-c", command) if isinstance(command, str) else command
            if code := run(argv):
                shown = command if isinstance(command, str) else " ".join(command)
                raise CommandFailed(
                    f"services_ready_from failed: `{shown}` exited with code {code}",
                    where=desired.tests.container.where,
                    remedy=f"inspect it with: devbox test --shell {desired.cell.name}",
                )

    def _stop(self, desired: DesiredCell) -> None:
        """Stop everything that writes to the volumes."""
        instance, containers = desired.resolved.instance, desired.resolved.containers
        for name in self._engine.observe(instance).containers:
            if name not in containers or name == desired.tests.container.name:
                self._engine.remove(instance, name)
        for name in order.list_stop_order(containers):
            if name != desired.tests.container.name:
                self._engine.stop(instance, name)

    def _find_lock(self, name: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(name, threading.Lock())


_LARGEST = 1 << 28  # bytes per file
_MOST = 1000  # files per cell
_PIECE = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def collect(source: str, patterns: Iterable[str], target: str) -> tuple[str, ...]:
    """Copy the regular files below `source` that match the patterns to `target`; return the copies."""
    desired = [re.compile(translate_glob(os.path.normpath(pattern)), re.DOTALL) for pattern in patterns]
    if not desired or not os.path.isdir(source):
        return ()
    found: list[str] = []
    top = os.open(source, _DIRECTORY)
    try:
        for path, directory, name in _walk_files(top, ""):
            if len(found) < _MOST and any(pattern.fullmatch(path) for pattern in desired):
                copy = f"{target}/{path}"
                if _copy_file(name, directory, copy):
                    found.append(copy)
    finally:
        os.close(top)
    return tuple(sorted(found))


def _walk_files(directory: int, prefix: str) -> Iterator[tuple[str, int, str]]:
    """Yield path, directory descriptor and name of each file below, including links and special files."""
    for name in sorted(os.listdir(directory)):
        try:
            inner = os.open(name, _DIRECTORY, dir_fd=directory)
        except OSError:  # not a directory, or not readable
            yield f"{prefix}{name}", directory, name
            continue
        try:
            yield from _walk_files(inner, f"{prefix}{name}/")
        finally:
            os.close(inner)


def _copy_file(name: str, directory: int, target: str) -> bool:
    """Copy a regular file within the size limit; return whether it was one."""
    try:
        source = os.open(name, _FILE, dir_fd=directory)
    except OSError:
        return False
    with open(source, "rb") as data:
        facts = os.fstat(source)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _LARGEST:
            return False
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as copy:
            left = facts.st_size
            while left > 0 and (piece := data.read(min(left, _PIECE))):  # a growing file is cut at its initial size
                left -= len(piece)
                copy.write(piece)
    return True
