"""What devbox remembers about one instance between commands: chosen ports, what it was last made from, credentials.

Every file carries a `format` and is 0600, since resolved environments hold generated development credentials.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from typing import Any

from devbox.errors import DevboxError
from devbox.host import directory, files
from devbox.host.paths import Paths
from devbox.model import codec, jsontext
from devbox.model.observed import LastApplied
from devbox.model.release import BuildInputs

FORMAT = 1
_CREDENTIAL_BYTES = 18
_PLACE = "place.json"
_WITH_DATA = (
    *("last.json", "build.json", "credentials.json", "resolved.json"),
    *("ports.json", "tasks.json", "hooks.json"),
)


class _DamagedRecord(DevboxError):
    """A record file can't be understood."""


class InstanceRecords:
    """The record files of one instance. Writers hold the instance's lock."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._dir = paths.project(instance)
        self._credentials_lock = paths.lock(f"{instance}.credentials")

    def read_place(self) -> tuple[str, str]:
        """The project's root and env file, as recorded; two empty strings before the first `up`."""
        plain = self._read(_PLACE)
        return str(plain.get("root", "")), str(plain.get("env_file", ""))

    def read_directory(self) -> str:
        """The identity of the project's directory when its place was recorded; see `host.directory`."""
        return str(self._read(_PLACE).get("directory", ""))

    def record_move(self, root: str) -> None:
        """Record another root and its directory; all else stays."""
        plain = {name: value for name, value in self._read(_PLACE).items() if name != "format"}
        self._write(_PLACE, {**plain, "root": root, "directory": directory.read_identity(root)})

    def read_stage(self) -> str:
        """The stage of the project that this is; "" where it is the one in which people work."""
        return str(self._read(_PLACE).get("stage", ""))

    def is_protected(self) -> bool:
        """True if this is a stage that only a command naming it may destroy, or one of which that is not recorded."""
        try:
            plain = self._read(_PLACE)
        except _DamagedRecord:
            return True
        return not plain or bool(plain.get("protected", plain.get("stage")))

    def record_place(self, root: str, env_file: str, *, stage: str = "", protected: bool = False) -> None:
        """Record the project's root and env file, and the stage that this instance is ("" for a development instance).

        `protected`: see `is_protected`.
        """
        plain: dict[str, Any] = {"root": root, "env_file": env_file, "directory": directory.read_identity(root)}
        if stage:
            plain |= {"stage": stage, "protected": protected}
        if self._read(_PLACE) != {"format": FORMAT, **plain}:
            self._write(_PLACE, plain)

    def read_ports(self) -> dict[str, int]:
        """Host ports by "NAME/8000/tcp", as used last."""
        return dict(self._read("ports.json").get("ports", {}))

    def record_ports(self, ports: dict[str, int]) -> None:
        """Keep the chosen host ports, those of containers that are away now included."""
        known = self.read_ports()
        if known | ports != known:
            self._write("ports.json", {"ports": known | ports})

    def read_due_hooks(self) -> tuple[str, ...]:
        """The hooks that have not succeeded since they should have; `created` of an instance that is new."""
        return tuple(self._read("hooks.json").get("due", ["created"]))

    def record_due_hooks(self, names: Iterable[str]) -> None:
        """Remember that these are about to run."""
        self._write("hooks.json", {"due": sorted({*self.read_due_hooks(), *names})})

    def record_hook_done(self, name: str) -> None:
        """Remember that one succeeded."""
        self._write("hooks.json", {"due": sorted({*self.read_due_hooks()} - {name})})

    def read_last_applied(self) -> LastApplied:
        """What the instance was last made from."""
        try:
            plain = self._read("last.json").get("last")
            return codec.load(LastApplied, plain) if plain else LastApplied()
        except (codec.CodecError, _DamagedRecord):
            return LastApplied()  # or written by an older version: reasons are less exact once, nothing else

    def record_applied(self, last: LastApplied) -> None:
        """Keep what the instance is made from now."""
        self._write("last.json", {"last": codec.dump(last)})

    def read_last_build(self) -> BuildInputs | None:
        """What `[build]` was last made from."""
        try:
            plain = self._read("build.json").get("inputs")
            return codec.load(BuildInputs, plain) if plain else None
        except (codec.CodecError, _DamagedRecord):
            return None

    def record_build(self, inputs: BuildInputs) -> None:
        """Keep what the build was made from."""
        self._write("build.json", {"inputs": codec.dump(inputs)})

    def ensure_credentials(self, wanted: Iterable[str], *, keep: bool = True) -> dict[str, str]:
        """The generated credentials by "db.password"; missing ones are made, and kept where that is wanted.

        Safe without the instance's lock: `plan` and `run TASK` load the file while an `up` holds it.
        """
        names = tuple(wanted)
        known = self._read_credentials()
        if known.keys() >= set(names):
            return known
        if not keep:
            return _generate_credentials(names) | known
        with files.lock_file(self._credentials_lock):
            known = (
                _generate_credentials(names) | self._read_credentials()
            )  # another devbox may have made them just now
            self._write("credentials.json", {"credentials": known})
        return known

    def forget(self) -> None:
        """Drop everything that goes with the instance's data (`down -v`). What the user trusts stays, and its place."""
        for name in _WITH_DATA:
            self._drop(name)
        if os.path.isdir(self._dir) and os.listdir(self._dir) == [_PLACE]:
            self._drop(_PLACE)
        with contextlib.suppress(OSError):  # it holds something yet, or was never made
            os.rmdir(self._dir)

    def _read_credentials(self) -> dict[str, str]:
        return dict(self._read("credentials.json").get("credentials", {}))

    def _drop(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._get_path(name))

    def _get_path(self, name: str) -> str:
        return f"{self._dir}/{name}"

    def _read(self, name: str) -> dict[str, Any]:
        text = files.read_text(self._get_path(name))
        if text is None:
            return {}
        try:
            plain: dict[str, Any] = jsontext.loads(text)
            newer = plain["format"] > FORMAT
        except (ValueError, KeyError, TypeError):
            raise _DamagedRecord(
                f"{self._get_path(name)} is damaged", remedy=f"remove it: rm {self._get_path(name)}"
            ) from None
        if newer:
            raise DevboxError(
                f"{self._get_path(name)} was written by a newer devbox (format {plain['format']})",
                remedy="upgrade devbox: pip install -U devbox-pipeline",
            )
        return plain

    def _write(self, name: str, plain: dict[str, Any]) -> None:
        os.makedirs(self._dir, mode=0o711, exist_ok=True)
        files.write_atomic(self._get_path(name), json.dumps({"format": FORMAT, **plain}), mode=0o600)


def _generate_credentials(names: Iterable[str]) -> dict[str, str]:
    import secrets

    return {name: secrets.token_urlsafe(_CREDENTIAL_BYTES) for name in names}
