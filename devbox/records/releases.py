"""The releases of one project on this machine, a file each. What stages make of them is the ledger's to record.

A release is found by its id or the first digits of it, as git finds a commit. Anybody who can write below DEVBOX_HOME,
or attach documents to an image at a registry, can add one. So the configuration directory records which release was
built last here: without a name, that one is meant.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress

from devbox.errors import UsageError
from devbox.host import files
from devbox.host.paths import Paths
from devbox.model import codec, jsontext
from devbox.model.release import SHORT, Release
from devbox.records.hostfiles import HostFiles

FORMAT = 1
FEWEST_DIGITS = 4


class Releases:
    """The releases of one instance."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._directory = paths.releases(instance)
        self._newest = f"{paths.host_project(instance)}/newest-release.json"
        self._files = HostFiles(paths)

    def add(self, release: Release, *, is_built: bool = True) -> None:
        """Keep a release. The same one, made again, is the newest again. `is_built`: here, not on another machine.

        HostError if the configuration directory cannot be used.
        """
        os.makedirs(self._directory, mode=0o711, exist_ok=True)
        plain = {"format": FORMAT, "release": codec.dump(release)}
        files.write_atomic(f"{self._directory}/{_digits(release.id)}.json", json.dumps(plain))
        if is_built:
            self._remember(release)

    def all(self) -> list[Release]:
        """Every release, the newest first. What can't be understood is left out: a newer devbox wrote it."""
        names: list[str] = []
        with suppress(FileNotFoundError):
            names = [name for name in os.listdir(self._directory) if name.endswith(".json")]
        found = [release for name in names if (release := self._read(f"{self._directory}/{name}"))]
        return sorted(found, key=lambda release: (release.created_at, release.id), reverse=True)

    def find(self, name: str, *, elsewhere: bool = False) -> Release:
        """The release of an id or its first digits; the newest for "". UsageError if there is none, or several.

        The newest is one that was built here. `elsewhere`: or learned from other machines; for what proves itself that
        the release came from the stage before.
        """
        known = self.all()
        if not name and known and not elsewhere:
            return self._built_last(known)
        digits = _digits(name)
        if known and 0 < len(digits) < FEWEST_DIGITS:
            raise UsageError(
                f"{name} is too short to name a release: {FEWEST_DIGITS} digits, or more", remedy="devbox release ls"
            )
        found = [release for release in known if _digits(release.id).startswith(digits)] if name else known[:1]
        if len(found) == 1:
            return found[0]
        what = "several releases begin" if found else "there is no release that begins"
        sentence = f"{what} with {name}" if name else "there is no release yet"
        raise UsageError(sentence, remedy="devbox release ls" if known else "devbox build makes one")

    def _built_last(self, known: list[Release]) -> Release:
        """The newest release that was built here. UsageError if that is not known, or its file is gone."""
        newest, _ = self._remembered()
        if not newest:
            raise UsageError(
                "cannot tell which release is the newest: none is recorded as built on this machine",
                remedy="name one of: devbox release ls; or: devbox build",
            )
        for each in known:
            if each.id == newest:
                return each
        raise UsageError(
            f"the newest release, {_digits(newest)[:SHORT]}, is missing from {self._directory}",
            remedy="devbox build makes it again; or name another one of: devbox release ls",
        )

    def _remember(self, release: Release) -> None:
        with self._files.locked(f"{self._newest}.lock"):
            if self._remembered()[1] <= release.created_at:
                plain = {"format": FORMAT, "id": release.id, "created_at": release.created_at}
                self._files.write(self._newest, json.dumps(plain))

    def _remembered(self) -> tuple[str, str]:
        """The id of the release that was built last, and when that was; two empty strings if it is not known."""
        try:
            plain = jsontext.loads(self._files.read(self._newest) or "{}")
            if plain["format"] == FORMAT:
                return str(plain["id"]), str(plain["created_at"])
        except (ValueError, KeyError, TypeError):
            pass
        return "", ""

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
