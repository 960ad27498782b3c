"""The releases of one project on this host, one file each. Their stages are recorded in the ledger.

A release is found by its id or a prefix, like a commit in git. Writers to DEVBOX_HOME, or to an image's repository in a
registry, can add releases, even with a colliding prefix. The configuration directory therefore records the releases
built here: without a name the last of them is used, and prefixes match only these and the ledger's.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from contextlib import suppress

from devbox.errors import UsageError
from devbox.host import files
from devbox.host.paths import Paths
from devbox.model import codec, jsontext
from devbox.model.frozen import dataclass
from devbox.model.release import SHORT, Release
from devbox.records.host_files import HostFiles

FORMAT = 1
FEWEST_DIGITS = 4
_MOST_BUILT = 1000  # recorded releases built here
_WHOLE = 64  # digits of an id


@dataclass(frozen=True, kw_only=True)
class _BuiltReleases:
    """The last release built here, its time, and the ids of all releases built here.

    Earlier versions recorded only the last one.
    """

    newest: str = ""
    created_at: str = ""
    every: tuple[str, ...] = ()


class Releases:
    """The releases of one instance."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._paths, self._instance = paths, instance
        self._directory = paths.releases(instance)
        self._newest = f"{paths.host_project(instance)}/newest-release.json"
        self._files = HostFiles(paths)

    def add(self, release: Release, *, is_built: bool = True) -> None:
        """Store a release; a rebuild of the same one becomes the newest. `is_built`: built on this host.

        HostError if the configuration directory is unusable.
        """
        os.makedirs(self._directory, mode=0o711, exist_ok=True)
        plain = {"format": FORMAT, "release": codec.dump(release)}
        files.write_atomic(f"{self._directory}/{_strip_algorithm(release.id)}.json", json.dumps(plain))
        if is_built:
            self._record_built(release)

    def remove(self, release: Release) -> None:
        """Remove a release from this host; its ledger entries stay."""
        os.unlink(f"{self._directory}/{_strip_algorithm(release.id)}.json")

    def list_releases(self) -> list[Release]:
        """Return all releases, newest first, except unreadable ones of a newer devbox."""
        names: list[str] = []
        with suppress(FileNotFoundError):
            names = [name for name in os.listdir(self._directory) if name.endswith(".json")]
        found = [release for name in names if (release := self._read(f"{self._directory}/{name}"))]
        return sorted(found, key=lambda release: (release.created_at, release.id), reverse=True)

    def find(self, name: str, *, include_remote: bool = False) -> Release:
        """Return the release with an id or prefix; the newest for "". UsageError if there is none, or several.

        The newest is one that was built here. `include_remote`: include releases from other hosts, for callers that
        verify their origin. A prefix matches releases that were built here or are in the ledger; others need the
        whole id.
        """
        known = self.list_releases()
        if not name and known and not include_remote:
            return self._find_last_built(known)
        digits = _strip_algorithm(name)
        if known and 0 < len(digits) < FEWEST_DIGITS:
            raise UsageError(
                f"invalid release {name}: expected at least {FEWEST_DIGITS} digits", remedy="devbox release ls"
            )
        if name and known and len(digits) < _WHOLE:
            return self._find_named(name, known)
        found = [release for release in known if _strip_algorithm(release.id) == digits] if name else known[:1]
        if found:
            return found[0]
        raise _make_not_found(name, known)

    def _find_named(self, name: str, known: list[Release]) -> Release:
        """Return the release for a prefix; UsageError unless it is one that other processes cannot have added."""
        digits = _strip_algorithm(name)
        found = [release for release in known if _strip_algorithm(release.id).startswith(digits)]
        proven = sorted(each for each in self._list_proven_ids() if _strip_algorithm(each).startswith(digits))
        if len(proven) > 1 or (not proven and len(found) > 1):
            raise UsageError(f"ambiguous release {name}: several ids begin with it", remedy="devbox release ls")
        for release in found:
            if release.id in proven:
                return release
        if proven:
            raise UsageError(
                f"the release {_strip_algorithm(proven[0])[:SHORT]} is missing from {self._directory}",
                remedy="build it again from the same sources: devbox build; or name another release: devbox release ls",
            )
        if found:
            raise UsageError(
                f"cannot verify the short id {name}: the release was not built on this host, "
                "and no stage record names it",
                remedy=f"inspect it, and use its full id: devbox release show {found[0].id}",
            )
        raise _make_not_found(name, known)

    def _list_proven_ids(self) -> frozenset[str]:
        """Return the ids of releases that were built here, or that the ledger names."""
        from devbox.records.ledger import Ledger

        has_ledger = os.path.lexists(self._paths.ledger(self._instance))  # reading one creates the key of this host
        entries = Ledger(self._paths, self._instance).read_entries() if has_ledger else ()
        named, built = (entry.release for entry in entries), self._read_built()
        return frozenset(filter(None, (built.newest, *built.every, *named)))

    def _find_last_built(self, known: list[Release]) -> Release:
        """Return the newest release built here; UsageError if unknown, or its file is missing."""
        newest = self._read_built().newest
        if not newest:
            raise UsageError(
                "cannot determine the newest release: none was built on this host",
                remedy="name a release (devbox release ls), or run devbox build",
            )
        for each in known:
            if each.id == newest:
                return each
        raise UsageError(
            f"the newest release, {_strip_algorithm(newest)[:SHORT]}, is missing from {self._directory}",
            remedy="build it again: devbox build; or name another release: devbox release ls",
        )

    def _record_built(self, release: Release) -> None:
        """Record a built release; as the newest unless another process has built a newer one.

        A release dated in the future does not count as newer: the clock was set back since.
        """
        now = f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        with self._files.lock(f"{self._newest}.lock"):
            known = self._read_built()
            is_newest = known.created_at <= release.created_at or known.created_at > now
            newest = (release.id, release.created_at) if is_newest else (known.newest, known.created_at)
            before = [each for each in dict.fromkeys((known.newest, *known.every)) if each not in ("", release.id)]
            built = [*before[-_MOST_BUILT + 1 :], release.id]
            plain = {"format": FORMAT, "id": newest[0], "created_at": newest[1], "built": built}
            self._files.write(self._newest, json.dumps(plain))

    def _read_built(self) -> _BuiltReleases:
        """Return the record of releases built here, as far as readable."""
        try:
            plain = jsontext.loads(self._files.read(self._newest) or "{}")
            if plain["format"] == FORMAT:
                every = tuple(str(each) for each in plain.get("built", ()))
                return _BuiltReleases(newest=str(plain["id"]), created_at=str(plain["created_at"]), every=every)
        except (ValueError, KeyError, TypeError):
            pass
        return _BuiltReleases()

    @staticmethod
    def _read(path: str) -> Release | None:
        """Read a release file; None if invalid, or if its id does not match its content."""
        try:
            plain = jsontext.loads(files.read_text(path) or "{}")
            found = codec.load(Release, plain["release"]) if plain.get("format") == FORMAT else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        return found if found is not None and found.is_sound else None


def _make_not_found(name: str, known: list[Release]) -> UsageError:
    sentence = f"release not found: {name}" if name else "no release has been built yet"
    return UsageError(sentence, remedy="devbox release ls" if known else "create one with: devbox build")


def _strip_algorithm(identity: str) -> str:
    return identity.removeprefix("sha256:")
