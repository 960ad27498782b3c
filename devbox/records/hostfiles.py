"""Files by which devbox decides about releases, and about what it does to the host.

They lie in the configuration directory, next to the key of this host.

So a process that can only write below DEVBOX_HOME can neither forge nor delete them, nor put an older copy back.
Earlier versions kept them below the home: those are copied once, at the first use by this version, and not read again.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager

from devbox.errors import HostError
from devbox.host import beneath, files, removal
from devbox.host.paths import Paths
from devbox.model import ids
from devbox.records.hostkey import HostKey

_STAGES = ("deployed.json", "trial/trial.json")  # a process of an earlier version may be about to write these
_OTHERS = ("tally.json", "promoted.json", "backing.json", "trust.json")
_TRIAL = "trial/trial.json"
_COMMAND = ".cmd"
_EMPTIED = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class HostFiles:
    """The files of one DEVBOX_HOME, by their paths (`Paths.host_files` and what lies below it).

    HostError if the configuration directory is open to others, or cannot be made.
    """

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._root = paths.host_files
        self._key = HostKey(paths)

    @property
    def is_known(self) -> bool:
        """True if this host keeps the files of the home; from then on, none below it counts."""
        return os.path.isdir(self._root)

    def exists(self, path: str) -> bool:
        """True if the file exists, or one of an earlier version that would be adopted."""
        return os.path.lexists(path) or (not self.is_known and os.path.lexists(self.below_home(path)))

    def read(self, path: str) -> str | None:
        """Return the text of a file; None if it does not exist."""
        if not self.is_known:
            if not os.path.lexists(self.below_home(path)):
                return None  # a reader makes nothing
            self._begin()
        try:
            text = files.read_text(path)
        except PermissionError:
            text = ""  # the check says whose it is
        if text is not None:
            self._key.check_directory()
        return text

    def names(self, directory: str) -> list[str]:
        """Return the names in a directory, sorted; none if it does not exist."""
        if not self.is_known:
            if not os.path.isdir(self.below_home(directory)):
                return []
            self._begin()
        try:
            found = sorted(os.listdir(directory))
        except FileNotFoundError:
            return []
        self._key.check_directory()
        return found

    def write(self, path: str, text: str) -> None:
        """Replace a file, which only its owner can read. A copy that an earlier version left below the home goes."""
        self.prepare(path)
        files.write_atomic(path, text, mode=0o600)
        self._remove_below_home(path)

    @contextlib.contextmanager
    def opened(self, path: str) -> Iterator[int]:
        """Open a file to write, emptied; yield its descriptor. HostError if it is a link or not a regular file."""
        self.prepare(path)
        try:
            fd = os.open(path, _EMPTIED, 0o600)
        except OSError as error:
            raise beneath.refusal("write", os.path.dirname(path), os.path.basename(path), error) from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise HostError(f"{path} is not a regular file", remedy=f"see: ls -ld {path}; move it away")
            yield fd
        finally:
            os.close(fd)

    def remove(self, path: str) -> None:
        """Remove a file, if it exists."""
        self._remove_below_home(path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def forget(self, instance: str) -> None:
        """Remove all files of an instance."""
        with contextlib.suppress(FileNotFoundError):
            removal.remove(self._paths.host_project(instance))

    def locked(self, path: str, *, wait: bool = True) -> AbstractContextManager[bool]:
        """Hold a lock file; see `files.locked`."""
        self.prepare(path)
        return files.locked(path, wait=wait)

    def adopt(self) -> None:
        """Copy what an earlier version kept below the home, once. The caller holds the configuration directory's lock.

        A killed run is repeated as a whole. HostError if a process of an earlier version works on one of the files.
        """
        if self.is_known:
            return
        new = f"{self._root}.new"
        if os.path.lexists(new):
            removal.remove(new)
        os.makedirs(new, mode=0o700)
        for path, raw in self._earlier():
            os.makedirs(os.path.dirname(f"{new}/{path}"), mode=0o700, exist_ok=True)
            files.write_atomic(f"{new}/{path}", raw, mode=0o600)
        os.rename(new, self._root)
        with contextlib.suppress(FileNotFoundError):
            removal.remove(f"{self._paths.host_state}/trials")

    def _begin(self) -> None:
        self._key.prepare()
        with files.locked(self._key.lock):
            self.adopt()

    def prepare(self, path: str) -> None:
        """Have the directory of a file."""
        if self.is_known:
            self._key.check_directory()
        else:
            self._begin()
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)

    def _earlier(self) -> Iterator[tuple[str, bytes]]:
        """The files of an earlier version, by their paths below the home, with what they hold."""
        for instance in self._names("projects"):
            for name in (*_STAGES, *_OTHERS):
                path = f"projects/{instance}/{name}"
                raw = self._content(path)
                if raw is None or (name == _TRIAL and not self._was_written(instance, raw)):
                    continue
                if name in _STAGES:
                    self._check_idle(instance)
                yield path, raw
        for directory, suffix in (("keys", _COMMAND), ("installed", ".json")):
            for path in (f"{directory}/{name}" for name in self._names(directory) if name.endswith(suffix)):
                if (raw := self._content(path)) is not None:
                    yield path, raw

    def _names(self, directory: str) -> list[str]:
        try:
            return beneath.names(self._paths.home, directory)
        except OSError:
            return []

    def _content(self, path: str) -> bytes | None:
        """What a regular file below the home holds; None for anything else."""
        try:
            return beneath.read(self._paths.home, path)
        except OSError:
            return None

    def _was_written(self, instance: str, raw: bytes) -> bool:
        """True if the earlier version wrote this state of a gray release last, or last but one."""
        known = files.read_text(f"{self._paths.host_state}/trials/{instance}") or ""
        return ids.sha256(raw) in known.split()

    def _check_idle(self, instance: str) -> None:
        for lock in (self._paths.lock(instance), f"{self._paths.project(instance)}/trial/controller.lock"):
            if not os.path.exists(lock):
                continue
            with files.locked(lock, shared=True, wait=False) as is_free:
                holder = files.lock_holder(lock)
                if not is_free and holder != os.getpid():
                    raise HostError(
                        f"another devbox (pid {holder}) is at work in the stage of {self._paths.project(instance)}",
                        remedy="wait until it ends, then do this again",
                    )

    def below_home(self, path: str) -> str:
        """Where an earlier version kept a file."""
        return f"{self._paths.home}/{os.path.relpath(path, self._root)}"

    def _remove_below_home(self, path: str) -> None:
        if os.path.lexists(self.below_home(path)):
            beneath.unlink(self._paths.home, os.path.relpath(path, self._root))
