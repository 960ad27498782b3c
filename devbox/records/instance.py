"""Records of one instance between commands: host ports, the last applied state, credentials.

Every file has a `format` and mode 0600, since resolved environments contain generated development credentials.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from typing import Any, TypeVar

from devbox.errors import DevboxError
from devbox.host import disk, files
from devbox.host.paths import Paths
from devbox.model import codec, jsontext
from devbox.model.observed import LastApplied
from devbox.model.release import BuildInputs

FORMAT = 1
_CREDENTIAL_BYTES = 18
_ABOVE_PORTS = 1 << 16
T = TypeVar("T")
_PLACE = "place.json"
_WITH_DATA = (
    *("last.json", "build.json", "credentials.json", "resolved.json"),
    *("ports.json", "tasks.json", "hooks.json"),
)


class _DamagedRecord(DevboxError):
    """A record file cannot be parsed."""


class InstanceRecords:
    """The record files of one instance. Writers hold the instance's lock."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._dir = paths.project(instance)
        self._credentials_lock = paths.lock(f"{instance}.credentials")

    def read_place(self) -> tuple[str, str]:
        """Return the recorded root and env file of the project; two empty strings before the first `up`."""
        return self._read_typed(str, _PLACE, "root", ""), self._read_typed(str, _PLACE, "env_file", "")

    def read_directory(self) -> str:
        """Return the recorded identity of the project's directory; see `host.disk`."""
        return self._read_typed(str, _PLACE, "directory", "")

    def record_move(self, root: str) -> None:
        """Record another root and its directory identity."""
        plain = {name: value for name, value in self._read(_PLACE).items() if name != "format"}
        self._write(_PLACE, {**plain, "root": root, "directory": disk.read_directory_identity(root)})

    def read_stage(self) -> str:
        """Return the project's stage; "" for a development instance."""
        return self._read_typed(str, _PLACE, "stage", "")

    def is_protected(self) -> bool:
        """True if only a command naming this stage may destroy it, including one without a record of this."""
        try:
            plain = self._read(_PLACE)
        except _DamagedRecord:
            return True
        return not plain or bool(plain.get("protected", plain.get("stage")))

    def record_place(self, root: str, env_file: str, *, stage: str = "", protected: bool = False) -> None:
        """Record the project's root and env file, and the stage of this instance ("" for development).

        `protected`: see `is_protected`.
        """
        plain: dict[str, Any] = {"root": root, "env_file": env_file, "directory": disk.read_directory_identity(root)}
        if stage:
            plain |= {"stage": stage, "protected": protected}
        if self._read(_PLACE) != {"format": FORMAT, **plain}:
            self._write(_PLACE, plain)

    def read_ports(self) -> dict[str, int]:
        """Return the last used host ports by "NAME/8000/tcp"."""
        ports = self._read_typed(dict[str, int], "ports.json", "ports", {})
        if not all(0 < port < _ABOVE_PORTS for port in ports.values()):
            raise self._make_damaged("ports.json")
        return ports

    def record_ports(self, ports: dict[str, int]) -> None:
        """Record the chosen host ports, keeping those of removed containers."""
        known = self.read_ports()
        if known | ports != known:
            self._write("ports.json", {"ports": known | ports})

    def read_due_hooks(self) -> tuple[str, ...]:
        """Return the hooks that have not succeeded since they became due; `created` for a new instance."""
        return self._read_typed(tuple[str, ...], "hooks.json", "due", ("created",))

    def record_due_hooks(self, names: Iterable[str]) -> None:
        """Record hooks that are about to run."""
        self._write("hooks.json", {"due": sorted({*self.read_due_hooks(), *names})})

    def record_hook_done(self, name: str) -> None:
        """Record the success of a hook."""
        self._write("hooks.json", {"due": sorted({*self.read_due_hooks()} - {name})})

    def read_last_applied(self) -> LastApplied:
        """Return the last applied state."""
        try:
            plain = self._read("last.json").get("last")
            return codec.load(LastApplied, plain) if plain else LastApplied()
        except (codec.CodecError, _DamagedRecord):
            return LastApplied()  # or written by an older version: only reasons are less precise, once

    def record_applied(self, last: LastApplied) -> None:
        """Record the applied state."""
        self._write("last.json", {"last": codec.dump(last)})

    def read_last_build(self) -> BuildInputs | None:
        """Return the inputs of the last `[build]`."""
        try:
            plain = self._read("build.json").get("inputs")
            return codec.load(BuildInputs, plain) if plain else None
        except (codec.CodecError, _DamagedRecord):
            return None

    def record_build(self, inputs: BuildInputs) -> None:
        """Record the inputs of the build."""
        self._write("build.json", {"inputs": codec.dump(inputs)})

    def ensure_credentials(self, desired: Iterable[str], *, keep: bool = True) -> dict[str, str]:
        """Return the generated credentials by "db.password"; create missing ones, and store them if `keep`.

        Safe without the instance's lock: `plan` and `run TASK` load the file while an `up` holds it.
        """
        names = tuple(desired)
        known = self._read_credentials()
        if known.keys() >= set(names):
            return known
        if not keep:
            return _generate_credentials(names) | known
        with files.lock_file(self._credentials_lock):
            known = (
                _generate_credentials(names) | self._read_credentials()
            )  # another devbox may have created them concurrently
            self._write("credentials.json", {"credentials": known})
        return known

    def forget(self) -> None:
        """Remove the records that belong to the instance's data (`down -v`), but not its trust and place."""
        for name in _WITH_DATA:
            self._drop(name)
        if os.path.isdir(self._dir) and os.listdir(self._dir) == [_PLACE]:
            self._drop(_PLACE)
        with contextlib.suppress(OSError):  # not empty, or never created
            os.rmdir(self._dir)

    def _read_credentials(self) -> dict[str, str]:
        return self._read_typed(dict[str, str], "credentials.json", "credentials", {})

    def _drop(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._get_path(name))

    def _get_path(self, name: str) -> str:
        return f"{self._dir}/{name}"

    def _read_typed(self, cls: type[T], name: str, key: str, default: T) -> T:
        """Return a value of a record; the default without the record."""
        plain = self._read(name)
        try:
            return codec.load(cls, plain[key]) if key in plain else default
        except codec.CodecError:
            raise self._make_damaged(name) from None

    def _make_damaged(self, name: str) -> _DamagedRecord:
        path = self._get_path(name)
        return _DamagedRecord(f"{path} is damaged", remedy=f"remove it: rm {path}")

    def _read(self, name: str) -> dict[str, Any]:
        text = files.read_text(self._get_path(name))
        if text is None:
            return {}
        try:
            plain: dict[str, Any] = jsontext.loads(text)
            newer = codec.load(int, plain["format"]) > FORMAT
        except (ValueError, LookupError, TypeError):
            raise self._make_damaged(name) from None
        if newer:
            raise DevboxError(
                f"{self._get_path(name)} was written by a newer devbox (format {plain['format']})",
                remedy="upgrade devbox: pip install -U devbox-pipeline",
            )
        return plain

    def _write(self, name: str, plain: dict[str, Any]) -> None:
        os.makedirs(self._dir, mode=0o711, exist_ok=True)
        files.write_record(self._get_path(name), json.dumps({"format": FORMAT, **plain}))


def _generate_credentials(names: Iterable[str]) -> dict[str, str]:
    import secrets

    return {name: secrets.token_urlsafe(_CREDENTIAL_BYTES) for name in names}
