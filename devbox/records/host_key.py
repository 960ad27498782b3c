"""The key of this user on this host: authenticates data in DEVBOX_HOME that release decisions depend on.

The key is in the configuration directory (`Paths.config`), outside DEVBOX_HOME: a process with write access to the
home cannot forge such data. `exec` never reads the key, and `up` does not create it.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from typing import Any

from devbox.errors import HostError
from devbox.host import files
from devbox.host.paths import Paths

_NAME = "host.key"
_BYTES = 32
_LIMIT = 256  # bytes of its file: 64 hexadecimal digits and a newline
_OTHER_DIRECTORY = "or export DEVBOX_CONFIG=DIR, a private directory outside DEVBOX_HOME"


class HostKey:
    """A key of 32 random bytes, created on first use."""

    def __init__(self, paths: Paths) -> None:
        self.directory = paths.config
        self._home = os.path.realpath(paths.home)
        self.lock = f"{self.directory}/lock"  # held while records about a home are created
        self._path = f"{self.directory}/{_NAME}"
        self._key = b""
        self.is_new = False  # True once this object has created the key

    @property
    def exists(self) -> bool:
        """True if the key has been created."""
        return os.path.lexists(self._path)

    def check(self) -> None:
        """Raise HostError if the key exists and is unusable, or other users could have read or replaced it."""
        if os.path.lexists(self.directory):
            self.check_directory()
        if self.exists:
            self._read()

    def check_directory(self) -> None:
        """Raise HostError if other users could have read or replaced files in the (existing) directory."""
        self._check(os.lstat(self.directory), self.directory, stat.S_ISDIR, "700")

    def compute_mac(self, purpose: str, content: Mapping[str, Any]) -> str:
        """Return `hmac-sha256:…` over the canonical JSON of `content`, for one purpose.

        Raises HostError if the key cannot be created, or other users could have read or replaced it.
        """
        import hashlib
        import hmac

        from devbox.model import ids

        signed = b"devbox %s\0%s" % (purpose.encode(), ids.encode_canonical_json(content))
        return f"hmac-sha256:{hmac.new(self._read(), signed, hashlib.sha256).hexdigest()}"

    def verifies(self, mac: str, purpose: str, content: Mapping[str, Any]) -> bool:
        """True if `mac` is this key's over `content`, for this purpose."""
        import hmac

        return hmac.compare_digest(mac.encode(errors="replace"), self.compute_mac(purpose, content).encode())

    def prepare(self) -> None:
        """Create the directory and the key if missing. Raises HostError as `compute_mac`."""
        if self._home == self.directory or self.directory.startswith(f"{self._home}/"):
            raise HostError(
                f"invalid DEVBOX_CONFIG: {self.directory} is below DEVBOX_HOME ({self._home})",
                remedy="export DEVBOX_CONFIG=DIR, a private directory outside it",
            )
        try:
            os.makedirs(os.path.dirname(self.directory), exist_ok=True)
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            self.check_directory()
            if not self.exists:
                self._create()
        except OSError as error:
            raise HostError(
                f"cannot create the key of this host in {self.directory}: {error.strerror}",
                remedy=f"check the permissions with ls -ld {self.directory}, {_OTHER_DIRECTORY}",
            ) from None

    def _create(self) -> None:
        files.remove_unfinished(self.directory)
        new = f"{self._path}.new-{os.getpid()}-{secrets.token_hex(8)}"
        files.write_atomic(new, f"{secrets.token_hex(_BYTES)}\n", mode=0o600)
        try:
            os.link(new, self._path)
        except FileExistsError:  # another devbox was faster
            pass
        finally:
            os.unlink(new)

    def _read(self) -> bytes:
        if not self._key:
            self.prepare()
            fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as source:
                self._check(os.fstat(fd), self._path, stat.S_ISREG, "600")
                text = source.read(_LIMIT)
            self._key = self._parse(text)
        return self._key

    def _parse(self, text: bytes) -> bytes:
        try:
            key = bytes.fromhex(text.decode())
        except ValueError:
            key = b""
        if len(key) != _BYTES:
            raise HostError(
                f"invalid key file {self._path}: expected {2 * _BYTES} hexadecimal digits",
                remedy=f"restore it from a backup, or create a new one: rm {self._path}, then devbox release rebuild",
            )
        return key

    def _check(self, facts: os.stat_result, path: str, is_kind: Any, mode: str) -> None:
        """Raise HostError if another user could have read, written or replaced a path."""
        if not is_kind(facts.st_mode):
            raise HostError(
                f"invalid {path}: expected a plain {_describe_kind(mode)}, got {stat.filemode(facts.st_mode)}",
                remedy=f"rm {path}",
            )
        if facts.st_uid != os.geteuid():
            raise HostError(
                f"{path} belongs to uid {facts.st_uid}, not to you", remedy=f"sudo rm -r {path}, {_OTHER_DIRECTORY}"
            )
        if facts.st_mode & 0o077:
            if not self.exists:
                raise HostError(
                    f"{path} is accessible to other users ({stat.filemode(facts.st_mode)})",
                    remedy=f"chmod {mode} {path}",
                )
            raise HostError(
                f"{path} is accessible to other users ({stat.filemode(facts.st_mode)}): its key may be compromised",
                remedy=f"restrict it: chmod {mode} {path}; "
                f"to replace the key: rm {self._path}, then devbox release rebuild",
            )


def _describe_kind(mode: str) -> str:
    return "directory" if mode == "700" else "file"
