"""Trusted files: the basis of decisions about releases and changes to the host.

They are in the configuration directory, next to the key of this host.

A process with write access only to DEVBOX_HOME can neither forge, delete nor roll back these files. Earlier versions
kept them below the home: those are copied once, on the first use by this version.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from devbox.errors import HostError
from devbox.host import disk, files, safe_files
from devbox.host.paths import Paths
from devbox.model import codec, ids, jsontext
from devbox.model.frozen import dataclass
from devbox.model.ledger import GENESIS
from devbox.records.host_key import HostKey

_STAGES = ("deployed.json", "trial/trial.json")  # a process of an earlier version may be about to write these
_OTHERS = ("tally.json", "promoted.json", "backing.json", "trust.json")
_GRAY_RELEASE = "trial/trial.json"
_COMMAND = ".cmd"
_EMPTIED = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class HostFiles:
    """The files of one DEVBOX_HOME, by their paths (`Paths.host_files` and below).

    Raises HostError if the configuration directory is accessible to other users, or cannot be created.
    """

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._root = paths.host_files
        self._key = HostKey(paths)

    @property
    def is_known(self) -> bool:
        """True if this host keeps the home's files; files below the home are then ignored."""
        return os.path.isdir(self._root)

    def exists(self, path: str) -> bool:
        """True if the file exists, or an earlier version's file that would be adopted."""
        return os.path.lexists(path) or (not self.is_known and os.path.lexists(self.get_legacy_path(path)))

    def read(self, path: str) -> str | None:
        """Return the text of a file; None if it does not exist."""
        if not self.is_known:
            if not os.path.lexists(self.get_legacy_path(path)):
                return None  # reading must not create anything
            self._begin()
        try:
            text = files.read_text(path)
        except PermissionError:
            text = ""  # the check below reports the owner
        if text is not None:
            self._key.check_directory()
        return text

    def list_names(self, directory: str) -> list[str]:
        """Return the names in a directory, sorted; none if it does not exist."""
        if not self.is_known:
            if not os.path.isdir(self.get_legacy_path(directory)):
                return []
            self._begin()
        try:
            found = sorted(os.listdir(directory))
        except FileNotFoundError:
            return []
        self._key.check_directory()
        return found

    def write(self, path: str, text: str) -> None:
        """Replace a file, readable only by its owner, and remove an earlier version's copy below the home."""
        self.prepare(path)
        files.write_record(path, text)
        self._remove_legacy_file(path)

    @contextlib.contextmanager
    def open_writer(self, path: str) -> Iterator[int]:
        """Open a file for writing, truncated; yield its descriptor. HostError if it is a link or not a regular file."""
        self.prepare(path)
        try:
            fd = os.open(path, _EMPTIED, 0o600)
        except OSError as error:
            raise safe_files.make_error("write", os.path.dirname(path), os.path.basename(path), error) from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise HostError(
                    f"{path} is not a regular file", remedy=f"check it with ls -ld {path}, and move it away"
                )
            yield fd
        finally:
            os.close(fd)

    def remove(self, path: str) -> None:
        """Remove a file, if it exists."""
        self._remove_legacy_file(path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def forget(self, instance: str) -> None:
        """Remove all files of an instance."""
        with contextlib.suppress(FileNotFoundError):
            disk.remove(self._paths.host_project(instance))

    def lock(self, path: str, *, wait: bool = True) -> AbstractContextManager[bool]:
        """Hold a lock file; see `files.lock_file`."""
        self.prepare(path)
        return files.lock_file(path, wait=wait)

    def adopt(self) -> None:
        """Copy an earlier version's files from the home, once. The caller holds the configuration directory's lock.

        An interrupted run is repeated entirely. HostError if an earlier version's process uses one of the files.
        """
        if self.is_known:
            return
        new = f"{self._root}.new"
        if os.path.lexists(new):
            disk.remove(new)
        os.makedirs(new, mode=0o700)
        for path, raw in self._read_legacy_files():
            os.makedirs(os.path.dirname(f"{new}/{path}"), mode=0o700, exist_ok=True)
            files.write_atomic(f"{new}/{path}", raw, mode=0o600)
        os.rename(new, self._root)
        with contextlib.suppress(FileNotFoundError):
            disk.remove(f"{self._paths.host_state}/trials")

    def _begin(self) -> None:
        self._key.prepare()
        with files.lock_file(self._key.lock):
            self.adopt()

    def prepare(self, path: str) -> None:
        """Ensure the directory of a file."""
        if self.is_known:
            self._key.check_directory()
        else:
            self._begin()
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)

    def _read_legacy_files(self) -> Iterator[tuple[str, bytes]]:
        """Yield an earlier version's files, by their paths below the home, with their content."""
        for instance in self._list_legacy_names("projects"):
            for name in (*_STAGES, *_OTHERS):
                path = f"projects/{instance}/{name}"
                raw = self._read_legacy_file(path)
                if raw is None or (name == _GRAY_RELEASE and not self._is_last_written(instance, raw)):
                    continue
                if name in _STAGES:
                    self._check_idle(instance)
                yield path, raw
        for directory, suffix in (("keys", _COMMAND), ("installed", ".json")):
            for path in (f"{directory}/{name}" for name in self._list_legacy_names(directory) if name.endswith(suffix)):
                if (raw := self._read_legacy_file(path)) is not None:
                    yield path, raw

    def _list_legacy_names(self, directory: str) -> list[str]:
        try:
            return safe_files.list_names(self._paths.home, directory)
        except OSError:
            return []

    def _read_legacy_file(self, path: str) -> bytes | None:
        """Return the content of a regular file below the home; None otherwise."""
        try:
            return safe_files.read(self._paths.home, path)
        except OSError:
            return None

    def _is_last_written(self, instance: str, raw: bytes) -> bool:
        """True if the earlier version wrote this state of a gray release last, or last but one."""
        known = files.read_text(f"{self._paths.host_state}/trials/{instance}") or ""
        return ids.compute_sha256(raw) in known.split()

    def _check_idle(self, instance: str) -> None:
        for lock in (self._paths.lock(instance), f"{self._paths.project(instance)}/trial/controller.lock"):
            if not os.path.exists(lock):
                continue
            with files.lock_file(lock, shared=True, wait=False) as is_free:
                holder = files.read_lock_holder(lock)
                if not is_free and holder != os.getpid():
                    raise HostError(
                        f"another devbox (pid {holder}) is using the stage of {self._paths.project(instance)}",
                        remedy="try again when it has exited",
                    )

    def get_legacy_path(self, path: str) -> str:
        """Return the path of a file in earlier versions."""
        return f"{self._paths.home}/{os.path.relpath(path, self._root)}"

    def _remove_legacy_file(self, path: str) -> None:
        if os.path.lexists(self.get_legacy_path(path)):
            safe_files.unlink(self._paths.home, os.path.relpath(path, self._root))


FORMAT = 1
_ENTRY = "ledger entry"
_MOST = 1 << 53  # entries


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """The head of a ledger as this host wrote it: its number, hash and authentication code (MAC)."""

    seq: int = 0
    hash: str = GENESIS
    mac: str = ""
    at: str = ""


class Anchors:
    """This host's records of the ledgers in one DEVBOX_HOME."""

    def __init__(self, paths: Paths) -> None:
        self.key = HostKey(paths)
        self._home = os.path.realpath(paths.home)
        self.directory = paths.host_state
        self._files = HostFiles(paths)
        self._id = ""

    @property
    def is_known(self) -> bool:
        """True if files of earlier versions in this home, including ledgers, are no longer trusted."""
        return self._is_registered and self._files.is_known

    @property
    def _is_registered(self) -> bool:
        return os.path.exists(f"{self.directory}/home.json")

    def register(self, adopt: Callable[[Anchors], None]) -> None:
        """Register this home, after `adopt` has run once; an interrupted run is repeated entirely.

        The files of an earlier version are adopted as well: `HostFiles.adopt`.

        Raises HostError if the configuration directory cannot be written, or is accessible to other users.
        """
        self.key.prepare()
        with files.lock_file(self.key.lock):
            try:
                self._files.adopt()
                if self._is_registered:
                    return
                os.makedirs(f"{self.directory}/heads", mode=0o700, exist_ok=True)
                self._id = secrets.token_hex(16)
                adopt(self)
                plain = {"format": FORMAT, "home": self._home, "id": self._id}
                files.write_record(f"{self.directory}/home.json", json.dumps(plain))
            except OSError as error:
                raise HostError(
                    f"cannot write {self.directory}: {error.strerror}",
                    remedy=f"check the permissions: ls -ld {self.directory}",
                ) from None

    def compute_mac(self, instance: str, entry: str, previous: str) -> str:
        """Return the MAC of the entry with this hash, after the one with the MAC `previous`, for this ledger only."""
        return self.key.compute_mac(_ENTRY, self._bind_entry(instance, entry, previous))

    def read(self, instance: str) -> Anchor:
        """Return the recorded head; an empty ledger's if there is none."""
        path = self._get_path(instance)
        text = files.read_text(path)
        if text is None:
            return Anchor()
        try:
            plain = jsontext.loads(text)
            known = codec.load(Anchor, {name: plain[name] for name in ("seq", "hash", "mac", "at")})
            if plain["format"] == FORMAT and 0 <= known.seq < _MOST:
                return known
        except (ValueError, KeyError, TypeError):
            pass
        raise HostError(f"cannot read {path}: file is damaged", remedy=f"rm {path}, then devbox release rebuild")

    def write(self, instance: str, anchor: Anchor) -> None:
        """Record a head."""
        plain = {"format": FORMAT, **{name: getattr(anchor, name) for name in ("seq", "hash", "mac", "at")}}
        files.write_record(self._get_path(instance), json.dumps(plain))

    def bind_content(self, instance: str, plain: object) -> dict[str, object]:
        """Bind `plain` to this home and instance, so that its MAC is valid only here."""
        return {"home": self._home, "id": self._read_home_id(), "instance": instance, "content": plain}

    def _bind_entry(self, instance: str, entry: str, previous: str) -> dict[str, object]:
        return self.bind_content(instance, {"entry": entry, "previous": previous})

    def _read_home_id(self) -> str:
        """Return the random id of this home: a home that was recreated does not trust earlier records."""
        if not self._id:
            path = f"{self.directory}/home.json"
            try:
                self._id = codec.load(str, jsontext.loads(files.read_text(path) or "")["id"])
            except (ValueError, KeyError, TypeError):
                raise HostError(
                    f"cannot read {path}: file is missing or damaged",
                    remedy=f"rm -f {path}, then devbox release rebuild",
                ) from None
        return self._id

    def _get_path(self, instance: str) -> str:
        return f"{self.directory}/heads/{instance}.json"


def forget(paths: Paths) -> None:
    """Remove the records of a DEVBOX_HOME, and the key if no other home needs it."""
    if os.path.isdir(directory := paths.host_state):
        disk.remove(directory)
    with contextlib.suppress(OSError):
        os.rmdir(f"{paths.config}/homes")
        for name in ("host.key", "lock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{paths.config}/{name}")
        os.rmdir(paths.config)
