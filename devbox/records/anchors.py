"""The heads of ledgers that this host remembers, next to its key: one per DEVBOX_HOME and instance.

`homes/TAG/home.json` names a home by its real path and a random id, and says since when its ledgers are authenticated.
From then on, a ledger without a remembered head is an empty one; `homes/TAG/heads/INSTANCE.json` is replaced whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Callable

from devbox.errors import HostError
from devbox.frozen import dataclass
from devbox.host import files, removal
from devbox.host.paths import Paths
from devbox.model import jsontext
from devbox.model.entry import GENESIS
from devbox.records.hostfiles import HostFiles
from devbox.records.hostkey import HostKey

FORMAT = 1
_ENTRY = "ledger entry"


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """The newest entry of a ledger, as this host wrote it: its number, hash and authentication code (MAC)."""

    seq: int = 0
    hash: str = GENESIS
    mac: str = ""
    at: str = ""


class Anchors:
    """What this host remembers of the ledgers of one DEVBOX_HOME."""

    def __init__(self, paths: Paths) -> None:
        self.key = HostKey(paths)
        self._home = os.path.realpath(paths.home)
        self.directory = paths.host_state
        self._files = HostFiles(paths)
        self._id = ""

    @property
    def is_known(self) -> bool:
        """True if nothing in this home that an earlier version wrote is believed any more: no ledger, no other file."""
        return self._is_registered and self._files.is_known

    @property
    def _is_registered(self) -> bool:
        return os.path.exists(f"{self.directory}/home.json")

    def register(self, adopt: Callable[[Anchors], None]) -> None:
        """Know this home from now on. `adopt` runs before that, once; a killed run is repeated as a whole.

        The files of an earlier version are adopted as well: `HostFiles.adopt`.

        Raises HostError if the configuration directory cannot be written, or is open to others.
        """
        self.key.prepare()
        with files.locked(self.key.lock):
            try:
                self._files.adopt()
                if self._is_registered:
                    return
                os.makedirs(f"{self.directory}/heads", mode=0o700, exist_ok=True)
                self._id = secrets.token_hex(16)
                adopt(self)
                plain = {"format": FORMAT, "home": self._home, "id": self._id}
                files.write_atomic(f"{self.directory}/home.json", json.dumps(plain), mode=0o600)
            except OSError as error:
                raise HostError(
                    f"cannot write {self.directory}: {error.strerror}", remedy=f"see: ls -ld {self.directory}"
                ) from None

    def mac(self, instance: str, entry: str, previous: str) -> str:
        """The MAC of the entry with this hash, behind the one with the MAC `previous`, in this ledger and no other."""
        return self.key.mac(_ENTRY, self._entry(instance, entry, previous))

    def read(self, instance: str) -> Anchor:
        """The remembered head; that of an empty ledger if there is none."""
        path = self._path(instance)
        text = files.read_text(path)
        if text is None:
            return Anchor()
        try:
            plain = jsontext.loads(text)
            known = {name: plain[name] for name in ("seq", "hash", "mac", "at")}
            if plain["format"] == FORMAT and isinstance(known["seq"], int):
                return Anchor(**known)
        except (ValueError, KeyError, TypeError):
            pass
        raise HostError(f"cannot read {path}: it is damaged", remedy=f"rm {path}, then devbox release rebuild")

    def write(self, instance: str, anchor: Anchor) -> None:
        """Remember a head."""
        plain = {"format": FORMAT, **{name: getattr(anchor, name) for name in ("seq", "hash", "mac", "at")}}
        files.write_atomic(self._path(instance), json.dumps(plain), mode=0o600)

    def content(self, instance: str, plain: object) -> dict[str, object]:
        """What a MAC of this home and instance covers besides `plain`: it counts nowhere else."""
        return {"home": self._home, "id": self._identity(), "instance": instance, "content": plain}

    def _entry(self, instance: str, entry: str, previous: str) -> dict[str, object]:
        return self.content(instance, {"entry": entry, "previous": previous})

    def _identity(self) -> str:
        """The random id of this home: a home that was cleaned and begun again believes nothing of before."""
        if not self._id:
            path = f"{self.directory}/home.json"
            try:
                self._id = str(jsontext.loads(files.read_text(path) or "")["id"])
            except (ValueError, KeyError, TypeError):
                raise HostError(
                    f"cannot read {path}: it is missing or damaged",
                    remedy=f"rm -f {path}, then devbox release rebuild",
                ) from None
        return self._id

    def _path(self, instance: str) -> str:
        return f"{self.directory}/heads/{instance}.json"


def forget(paths: Paths) -> None:
    """Remove what is remembered of a DEVBOX_HOME; the key as well, if no other home needs it."""
    if os.path.isdir(directory := paths.host_state):
        removal.remove(directory)
    with contextlib.suppress(OSError):
        os.rmdir(f"{paths.config}/homes")
        for name in ("host.key", "lock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{paths.config}/{name}")
        os.rmdir(paths.config)
