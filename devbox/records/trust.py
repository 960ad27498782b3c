"""Trust in projects: permitted host access, valid until the request changes.

A record contains the hash of everything that was shown to the user. It is in the configuration directory: files below
DEVBOX_HOME cannot cause execution on the host. `projects/ID/trust.json` there changes with it, as a signal for shells,
and permits nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Sequence

from devbox.errors import DevboxError
from devbox.host import files
from devbox.host.paths import Paths
from devbox.model import codec, jsontext
from devbox.model.container import Grant
from devbox.model.host_access import HostAccess
from devbox.model.ids import compute_key
from devbox.records.host_files import HostFiles
from devbox.records.host_key import HostKey
from devbox.records.instance import InstanceRecords

TRUST_FORMAT = 1
FORMAT_OF_SIGNAL = 2  # earlier versions expect permissions there, and find none


class TrustRecord:
    """The permissions of one instance by the user."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._path = f"{paths.host_project(instance)}/trust.json"
        self._signal = paths.trust(instance)
        self._files = HostFiles(paths)
        self._stages = f"{paths.host_state}/stages/{instance}"
        self._host = HostKey(paths)

    def covers(self, requested: Sequence[HostAccess]) -> bool:
        """Return whether exactly this access is permitted; True for an empty request."""
        return not requested or self._read_allowed("allowed") == _compute_key(requested)

    def covers_shell(self, offered: Sequence[HostAccess]) -> bool:
        """Return whether a shell may be set up with exactly this access; even an empty request requires a record."""
        return self._read_allowed("shell") == _compute_key(offered)

    def covers_install(self, requested: Sequence[HostAccess]) -> bool:
        """Return whether exactly this access is permitted for installs."""
        return not requested or self._read_allowed("install") == _compute_key(requested)

    def covers_stages(self, requested: Sequence[HostAccess]) -> bool:
        """Return whether exactly this host access is permitted for stages."""
        return not requested or files.read_text(self._stages) == _compute_key(requested)

    def allow(
        self,
        requested: Sequence[HostAccess],
        *,
        shell: Sequence[HostAccess] = (),
        install: Sequence[HostAccess] = (),
        stages: Sequence[HostAccess] = (),
    ) -> None:
        """Record the permitted access, and that of shells, installs and stages."""
        self._allow_stages(stages)
        keys = {"allowed": requested, "shell": shell, "install": install}
        plain = {"format": TRUST_FORMAT, **{name: _compute_key(access) for name, access in keys.items()}}
        self._files.write(self._path, json.dumps(plain))
        os.makedirs(os.path.dirname(self._signal), mode=0o711, exist_ok=True)
        signal = {"format": FORMAT_OF_SIGNAL, "changed": compute_key(plain)}
        files.write_atomic(self._signal, json.dumps(signal), mode=0o600)

    def revoke(self) -> bool:
        """Remove the record; return whether there was one."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._stages)
        was_there = self._files.exists(self._path)
        self._files.remove(self._path)
        return was_there

    def _allow_stages(self, requested: Sequence[HostAccess]) -> None:
        if requested:
            self._host.prepare()
            os.makedirs(os.path.dirname(self._stages), mode=0o700, exist_ok=True)
            files.write_record(self._stages, _compute_key(requested))
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._stages)

    def _read_allowed(self, what: str) -> str:
        """Return the key of the permitted access; a damaged file permits nothing."""
        try:
            plain = jsontext.loads(self._files.read(self._path) or "{}")
        except ValueError:
            return ""
        return str(plain.get(what, "")) if isinstance(plain, dict) and plain.get("format") == TRUST_FORMAT else ""


def _compute_key(requested: Sequence[HostAccess]) -> str:
    """Return the identity of a request, independent of its location in the file."""
    return compute_key(sorted(list(access.record()) for access in requested))


GRANTS_FORMAT = 1


def is_within_isolated(paths: Paths, root: str) -> bool:
    """True if this directory is in a project of which an env file has run isolated."""
    for key in os.listdir(paths.projects) if os.path.isdir(paths.projects) else ():
        if os.path.lexists(paths.grants(key)):
            with contextlib.suppress(DevboxError, OSError):
                above = InstanceRecords(paths, key).read_place()[0]
                if above and f"{root}/".startswith(f"{above.rstrip('/')}/"):
                    return True
    return False


class GrantRecord:
    """The accepted grants of one instance; `for_releases`: the grants for promotions."""

    def __init__(self, paths: Paths, instance: str, *, for_releases: bool = False) -> None:
        self._path = paths.release_grants(instance) if for_releases else paths.grants(instance)
        self._files = HostFiles(paths) if for_releases else None

    def read(self) -> tuple[Grant, ...] | None:
        """Return the accepted grants; None if the file has never run isolated. A damaged record accepts nothing."""
        text = self._files.read(self._path) if self._files else files.read_text(self._path)
        if text is None:
            return None
        try:
            plain = jsontext.loads(text)
            return codec.load(tuple[Grant, ...], plain["grants"]) if plain["format"] == GRANTS_FORMAT else ()
        except (ValueError, KeyError, TypeError):
            return ()

    def write(self, grants: Iterable[Grant]) -> None:
        """Replace the accepted grants."""
        plain = {"format": GRANTS_FORMAT, "grants": [{**codec.dump(grant), "where": ""} for grant in grants]}
        text = json.dumps(plain)
        if self._files:
            self._files.write(self._path, text)
        elif files.read_text(self._path) != text:
            os.makedirs(os.path.dirname(self._path), mode=0o711, exist_ok=True)
            files.write_atomic(self._path, text, mode=0o600)
