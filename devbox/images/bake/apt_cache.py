"""Cache of apt downloads that a distribution's signature authenticates, shared by builds.

Containers have the cache as a lower layer and write on top of it. After the container has exited, its downloads are
verified with the host's keys, independently of its apt (docs/adr/0044-proven-downloads.md).
"""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import os
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple

from devbox.errors import HostError
from devbox.host import files, process
from devbox.host.paths import Paths
from devbox.images.bake import bootstrap, installed
from devbox.model.image import Bootstrap

_BEGIN = b"-----BEGIN PGP SIGNED MESSAGE-----\n"
_SIGNATURE = b"-----BEGIN PGP SIGNATURE-----\n"
_INDEX = "_InRelease"
_PACKAGES = "_Packages"
_MOST = 16 << 20  # maximum bytes of an InRelease; those of distributions are below 1 MB


class AptRelease(NamedTuple):
    """A signed InRelease: suite names, date, and file digests by their names in apt's lists directory."""

    names: frozenset[str]
    date: float
    digests: dict[str, str]


class AptCache:
    """The cache of one suite."""

    def __init__(self, paths: Paths, base: Bootstrap) -> None:
        self._directory = paths.apt_cache(base.distribution, base.suite)
        self._keyring, _ = bootstrap.KEYRINGS.get(base.distribution, ("", ""))
        self.lists = f"{self._directory}/lists"
        self.debs = f"{self._directory}/debs"

    def lock(self) -> AbstractContextManager[bool]:
        """Lock the cache: builds of a suite download one at a time, so that the second reuses the first one's files."""
        return files.lock_file(f"{self._directory}/lock")

    def store_downloads(self, *, lists: str, archives: str, place: str) -> None:
        """Store the authenticated lists and packages from two directories of a container.

        None of its processes may be alive. `place`: a new work directory that is invisible to containers.
        """
        os.makedirs(place)
        for name in _list_plain_files(lists):
            if name.endswith(_INDEX) and (release := self._verify_release(f"{lists}/{name}", name, place)):
                self._store_lists(lists, name, release)
        left = {_hash_file(f"{archives}/{name}"): name for name in _list_plain_files(archives) if name.endswith(".deb")}
        for digest in left.keys() & self._find_listed(left):
            self._copy(f"{archives}/{left[digest]}", f"{self.debs}/{left[digest]}", digest)

    def _verify_release(self, path: str, name: str, place: str) -> AptRelease | None:
        """Return a signed InRelease that matches its suite and is newer than the cached one, else None."""
        raw = read_signed(path, keyring=self._keyring, place=place)
        release = read_release(raw.decode(errors="replace")) if raw else None
        if release is None or not any(name.endswith(f"_dists_{suite}{_INDEX}") for suite in release.names):
            return None
        kept = f"{self.lists}/{name}"
        return release if not os.path.exists(kept) or os.stat(kept).st_mtime < release.date else None

    def _store_lists(self, lists: str, name: str, release: AptRelease) -> None:
        """Store an InRelease and the files that it lists; remove cached files that it does not list."""
        prefix = name.removesuffix("InRelease")
        for kept in [each for each in _list_plain_files(self.lists) if each.startswith(prefix)]:
            if kept == name or _hash_file(f"{self.lists}/{kept}") != release.digests.get(kept.removeprefix(prefix)):
                os.unlink(f"{self.lists}/{kept}")
        for new in _list_plain_files(lists):
            if new.startswith(prefix) and (digest := release.digests.get(new.removeprefix(prefix))):
                self._copy(f"{lists}/{new}", f"{self.lists}/{new}", digest)
        # With the signed date, not the container's mtime: apt asks the mirror for changes since then.
        self._copy(f"{lists}/{name}", f"{self.lists}/{name}", _hash_file(f"{lists}/{name}"), date=release.date)

    def _find_listed(self, names_by_digest: Mapping[str, str]) -> set[str]:
        """Return the digests (mapped to file names) that the cached lists contain under the same name."""
        found = set()
        for name in _list_plain_files(self.lists):
            if name.endswith(_PACKAGES):
                with open(f"{self.lists}/{name}", encoding="utf-8", errors="replace") as source:
                    found |= find_listed(source.read(), names_by_digest)
        return found

    def _copy(self, source: str, target: str, digest: str, *, date: float | None = None) -> None:
        """Copy a file into the cache, owned by this user, if it still has the digest."""
        new = f"{self._directory}/new"
        shutil.copyfile(source, new)
        os.chmod(new, 0o644)
        if _hash_file(new) == digest:
            os.utime(new, None if date is None else (date, date))
            os.rename(new, target)
        else:
            os.unlink(new)


def read_signed(path: str, *, keyring: str, place: str) -> bytes | None:
    """Return the signed text of a file, or None if no known key signed it."""
    if os.path.getsize(path) > _MOST or not os.path.exists(keyring):
        return None
    with open(path, "rb") as source:
        raw = source.read()
    if not raw.startswith(_BEGIN) or raw.count(_BEGIN) != 1 or raw.count(_SIGNATURE) != 1:
        return None  # several messages: the signed part would be ambiguous
    text = f"{place}/text"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(text)
    try:
        good = _is_signature_valid(path, text, keyring)
    except HostError:  # no verifier installed: nothing is cached
        return None
    if not good:
        return None
    with open(text, "rb") as source:
        return source.read()


def _is_signature_valid(path: str, text: str, keyring: str) -> bool:
    """Verify a clear-signed file with the keyring; its signed content is then in `text`."""
    purpose = f"check the signature of {os.path.basename(path)}"
    try:
        program = process.find("gpgv")
    except HostError:  # newer systems verify with sqv, and may have only that
        argv = [process.find("sqv"), "--keyring", keyring, "--output", text, "--cleartext", path]
        return process.run(argv, purpose=purpose, check=False).returncode == 0
    argv = [program, "--quiet", "--status-fd", "1", "--keyring", keyring, "--output", text, path]
    # Its exit status includes unknown keys; one good signature suffices.
    lines = process.run(argv, purpose=purpose, check=False).stdout.decode(errors="replace").splitlines()
    words = [line.split()[1] for line in lines if line.startswith("[GNUPG:] ")]
    return "GOODSIG" in words and "BADSIG" not in words and os.path.exists(text)


def read_release(text: str) -> AptRelease | None:
    """Parse the used fields of a Release file; None if one is missing. Pure."""
    fields = next(installed.parse_stanzas(text), {})
    digests: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        if not line.startswith(" "):
            section = line.rstrip()
        elif section == "SHA256:" and len(words := line.split()) == len(("digest", "size", "name")):
            digests[words[2].replace("/", "_")] = words[0]
    try:
        date = email.utils.parsedate_to_datetime(fields["Date"]).timestamp()
    except (KeyError, ValueError):
        return None
    names = {fields[name] for name in ("Suite", "Codename") if fields.get(name)}
    return AptRelease(frozenset(names), date, digests)


def find_listed(packages: str, names_by_digest: Mapping[str, str]) -> set[str]:
    """Return the digests of `names_by_digest` (digest → file name) in a Packages file under apt's file names. Pure."""
    found = set()
    for stanza in packages.split("\n\n"):
        at = stanza.find("\nSHA256: ")
        digest = stanza[at + 9 : at + 73] if at >= 0 else ""
        if digest in names_by_digest:
            fields = next(installed.parse_stanzas(stanza), {})
            name = "_".join(fields.get(each, "") for each in ("Package", "Version", "Architecture"))
            if names_by_digest[digest] == f"{name.replace(':', '%3a')}.deb":
                found.add(digest)
    return found


def _list_plain_files(directory: str) -> list[str]:
    """Return the names of a directory's regular files; [] if it does not exist."""
    if not os.path.isdir(directory):
        return []
    return sorted(entry.name for entry in os.scandir(directory) if entry.is_file(follow_symlinks=False))


def _hash_file(path: str) -> str:
    with open(path, "rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
