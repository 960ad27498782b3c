"""What a project's env file granted its containers when it last ran isolated, or the user allowed.

Kept with the project (`projects/ID/grants.json`, 0600). `down -v` and `trust --revoke` leave it: an isolated container
may have changed the file before either. What counts for promotions lies in the configuration directory.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable

from devbox.errors import DevboxError
from devbox.host import files
from devbox.host.paths import Paths
from devbox.model import codec, jsontext
from devbox.model.grant import Grant
from devbox.records.hostfiles import HostFiles
from devbox.records.instance import InstanceRecords

FORMAT = 1


def is_within_isolated(paths: Paths, root: str) -> bool:
    """True if this directory is, or lies in, a project of which some env file has run isolated."""
    for key in os.listdir(paths.projects) if os.path.isdir(paths.projects) else ():
        if os.path.lexists(paths.grants(key)):
            with contextlib.suppress(DevboxError, OSError):
                above = InstanceRecords(paths, key).place()[0]
                if above and f"{root}/".startswith(f"{above.rstrip('/')}/"):
                    return True
    return False


class GrantRecord:
    """The accepted grants of one instance; `for_releases`, those that promotions may use."""

    def __init__(self, paths: Paths, instance: str, *, for_releases: bool = False) -> None:
        self._path = paths.release_grants(instance) if for_releases else paths.grants(instance)
        self._files = HostFiles(paths) if for_releases else None

    def read(self) -> tuple[Grant, ...] | None:
        """The accepted grants; None if the file has never run isolated. A damaged record accepts nothing."""
        text = self._files.read(self._path) if self._files else files.read_text(self._path)
        if text is None:
            return None
        try:
            plain = jsontext.loads(text)
            return codec.load(tuple[Grant, ...], plain["grants"]) if plain["format"] == FORMAT else ()
        except (ValueError, KeyError, TypeError):
            return ()

    def write(self, grants: Iterable[Grant]) -> None:
        """Accept exactly these from now on."""
        plain = {"format": FORMAT, "grants": [{**codec.dump(grant), "where": ""} for grant in grants]}
        text = json.dumps(plain)
        if self._files:
            self._files.write(self._path, text)
        elif files.read_text(self._path) != text:
            os.makedirs(os.path.dirname(self._path), mode=0o711, exist_ok=True)
            files.write_atomic(self._path, text, mode=0o600)
