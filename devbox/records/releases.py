"""The releases of one project on this machine, a file each. What stages make of them is the ledger's to record.

A release is found by its id or the first digits of it, as git finds a commit.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress

from devbox.errors import UsageError
from devbox.host import files
from devbox.host.paths import Paths
from devbox.model import codec, jsontext
from devbox.model.release import Release

FORMAT = 1
_FEWEST_DIGITS = 4


class Releases:
    """The releases of one instance."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._directory = paths.releases(instance)

    def add(self, release: Release) -> None:
        """Keep a release. The same one, made again, is the newest again."""
        os.makedirs(self._directory, mode=0o711, exist_ok=True)
        plain = {"format": FORMAT, "release": codec.dump(release)}
        files.write_atomic(f"{self._directory}/{_digits(release.id)}.json", json.dumps(plain))

    def all(self) -> list[Release]:
        """Every release, the newest first. What can't be understood is left out: a newer devbox wrote it."""
        names: list[str] = []
        with suppress(FileNotFoundError):
            names = [name for name in os.listdir(self._directory) if name.endswith(".json")]
        found = [release for name in names if (release := self._read(f"{self._directory}/{name}"))]
        return sorted(found, key=lambda release: (release.created_at, release.id), reverse=True)

    def find(self, name: str) -> Release:
        """The release of an id or its first digits; the newest for "". UsageError where there is none, or several."""
        known = self.all()
        digits = _digits(name)
        if known and 0 < len(digits) < _FEWEST_DIGITS:
            raise UsageError(
                f"{name} is too short to name a release: {_FEWEST_DIGITS} digits, or more", remedy="devbox release ls"
            )
        found = [release for release in known if _digits(release.id).startswith(digits)] if name else known[:1]
        if len(found) == 1:
            return found[0]
        what = "several releases begin" if found else "there is no release that begins"
        sentence = f"{what} with {name}" if name else "there is no release yet"
        raise UsageError(sentence, remedy="devbox release ls" if known else "devbox build makes one")

    @staticmethod
    def _read(path: str) -> Release | None:
        """The release of a file; None for what is none, also if its id is not the hash of what it says."""
        try:
            plain = jsontext.loads(files.read_text(path) or "{}")
            found = codec.load(Release, plain["release"]) if plain.get("format") == FORMAT else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        return found if found is not None and found.id == found.computed_id else None


def _digits(identity: str) -> str:
    return identity.removeprefix("sha256:")
