"""Atomic installation of files on the host: staged next to their targets, journaled, then renamed.

Until the journal is `committed`, an interrupted install is rolled back; afterwards it is completed. Both are idempotent
and run first in the next command.

Other users may write to the directories: each is opened by its real path, each component as a directory without
following links, so that replacing one causes an error, not a file elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from devbox.errors import EnvFileError, HostError
from devbox.model.install import HostEntry, Install, InstalledFile, Journal, Manifest
from devbox.plan import installs as planning
from devbox.records.installed import InstalledRecords

LINK_MODE = 0o777
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
RECOVERED = "restored the files of an interrupted install"
_PERMISSIONS, _SET_ID = 0o777, 0o6000


def observe_files(paths: Iterable[str]) -> dict[str, HostEntry | None]:
    """Return the current entry at each path."""
    return {path: read_entry(path) for path in paths}


def apply(
    placement: planning.Placement,
    sources: Mapping[str, str],
    *,
    before: Manifest | None,
    after: Manifest,
    records: InstalledRecords,
) -> None:
    """Change files on the host. `sources`: target → file to install. The caller holds the records' lock."""
    desired = {os.path.dirname(each.path) for each in after.files}
    missing = _find_missing(desired)
    known = (*(before.directories if before else ()), *missing)
    kept = tuple(path for path in known if any(f"{each}/".startswith(f"{path}/") for each in desired))
    journal = Journal(
        name=after.name,
        instance=after.instance,
        staged={_name_staged(each.path): each.path for each in placement.put},
        remove=placement.remove,
        directories=missing,
        emptied=tuple(sorted(set(known) - set(kept), key=len, reverse=True)),
        after=replace(after, directories=kept) if after.files else None,
    )
    records.begin(journal)
    try:
        _stage(journal, {each.path: each for each in placement.put}, sources)
    except BaseException:
        _roll_back(journal, records)
        raise
    journal = replace(journal, committed=True)
    records.begin(journal)
    _complete(journal, records)


def clear(records: InstalledRecords) -> None:
    """Uninstall all files that are unmodified. The caller holds the records' lock."""
    recover(records)
    for manifest in records.list_manifests():
        placement = planning.plan_placement(
            (), manifest, observe_files(each.path for each in manifest.files), {}, force=False
        )
        taken = {conflict.path for conflict in placement.conflicts}
        placement = replace(placement, remove=tuple(each for each in placement.remove if each.path not in taken))
        apply(placement, {}, before=manifest, after=replace(manifest, files=()), records=records)


def recover(records: InstalledRecords) -> bool:
    """Roll back or complete an interrupted install; True if there was one. The caller holds the records' lock."""
    journal = records.read_journal()
    if journal is None:
        return False
    (_complete if journal.committed else _roll_back)(journal, records)
    return True


def _stage(journal: Journal, files: Mapping[str, InstalledFile], sources: Mapping[str, str]) -> None:
    for path in journal.directories:
        _make_directory(path, mode=0o777)  # minus the caller's umask
    for staged, path in journal.staged.items():
        if files[path].kind == "link":
            _link(os.readlink(sources[path]), staged)
        else:
            write_new_file(sources[path], staged, mode=files[path].mode)
    _sync(journal)


def _roll_back(journal: Journal, records: InstalledRecords) -> None:
    for staged in journal.staged:
        _unlink(staged)
    for path in reversed(journal.directories):
        _remove_directory(path)
    records.end()


def _complete(journal: Journal, records: InstalledRecords) -> None:
    for staged, path in journal.staged.items():
        _rename(staged, path)
    for each in journal.remove:
        if read_entry(each.path) == HostEntry(kind=each.kind, mode=each.mode, digest=each.digest):
            _unlink(each.path)
    _sync(journal)
    for path in journal.emptied:
        _remove_directory(path)
    if journal.after is None:
        records.forget(journal.instance, journal.name)
    else:
        records.store(journal.after)
    records.end()


def _sync(journal: Journal) -> None:
    paths = (*journal.staged.values(), *(each.path for each in journal.remove))
    for directory in sorted({os.path.dirname(path) for path in (*paths, *journal.directories)}):
        _sync_directory(directory)


def _find_missing(directories: Iterable[str]) -> tuple[str, ...]:
    """Return the directories to create, outermost first."""
    found: set[str] = set()
    for directory in directories:
        path = directory
        while not os.path.lexists(path):
            found.add(path)
            path = os.path.dirname(path)
    return tuple(sorted(found, key=len))


def _name_staged(path: str) -> str:
    """Return the staging path of a file, in the same directory."""
    directory, name = os.path.split(path)
    return f"{directory}/.{name[:200]}.devbox-{os.getpid()}"


class File(NamedTuple):
    """A file to install on the host, and its copy."""

    installed: InstalledFile
    source: str


def list_files(install: Install, copies: str, *, umask: int, set_id: bool) -> list[File]:
    """List the files of an install, recursively for directories. `set_id`: keep set-user-ID and set-group-ID bits."""
    found: dict[str, File] = {}
    for number, (place, path) in enumerate(install.files.items()):
        source = f"{copies}/{number}"
        into = place.endswith("/") and not os.path.isdir(source)
        target = f"{place}{os.path.basename(path)}" if into else place
        for each in _walk(source, resolve_place(target)):
            file = _build_file(*each, install=install, top=source, mask=_compute_mask(umask, set_id=set_id))
            if file.installed.path in found:
                raise EnvFileError(
                    f"two files of [install.{install.name}] have the same target: {each[1]}",
                    where=install.where,
                    remedy="set another target for one of them",
                )
            found[file.installed.path] = file
    return list(found.values())


def _walk(source: str, place: str) -> Iterator[tuple[str, str]]:
    """Yield every file and link with its target path."""
    if not os.path.isdir(source) or os.path.islink(source):
        yield source, place
        return
    for name in sorted(os.listdir(source)):
        yield from _walk(f"{source}/{name}", f"{place}/{name}")


def _build_file(source: str, place: str, *, install: Install, top: str, mask: int) -> File:
    facts = os.lstat(source)
    if stat.S_ISLNK(facts.st_mode):
        leads_to = os.readlink(source)
        if not _is_below(top, source, leads_to):
            raise HostError(
                f"cannot install the link {place}: {leads_to} is not among the files of [install.{install.name}]",
                where=install.where,
                remedy="replace it in the image by a file, or by a link inside the directory",
            )
        digest = _compute_link_digest(leads_to)
        return File(InstalledFile(path=place, digest=digest, mode=LINK_MODE, kind="link"), source)
    with open(source, "rb") as data:
        digest = f"sha256:{hashlib.file_digest(data, 'sha256').hexdigest()}"
    return File(InstalledFile(path=place, digest=digest, mode=stat.S_IMODE(facts.st_mode) & mask), source)


def _is_below(top: str, link: str, leads_to: str) -> bool:
    target = os.path.normpath(os.path.join(os.path.dirname(link), leads_to))
    return not os.path.isabs(leads_to) and target.startswith(f"{top}/")


def _compute_mask(umask: int, *, set_id: bool) -> int:
    """Return the mode bits to keep."""
    kept = _PERMISSIONS & ~umask
    return kept | _SET_ID if set_id else kept


@contextlib.contextmanager
def _open_directory(path: str) -> Iterator[int]:
    """Open the directory at a real path; FileNotFoundError if missing, HostError if a link is on the way."""
    fd = os.open("/", _DIRECTORY)
    try:
        for part in filter(None, path.split("/")):
            try:
                following = os.open(part, _DIRECTORY, dir_fd=fd)
            except NotADirectoryError:
                raise _make_moved_error(path) from None
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise _make_moved_error(path) from None
                raise
            os.close(fd)
            fd = following
        yield fd
    finally:
        os.close(fd)


def resolve_place(place: str) -> str:
    """Resolve a place: "~/bin/x" within the caller's home, "/usr/local/bin/x" only through root's and own links.

    Raises HostError if a link leads out of the home, or belongs to another user.
    """
    path = os.path.normpath(os.path.expanduser(place))
    parent, name = os.path.split(path)
    found = os.path.realpath(parent)
    if place.startswith("~/"):
        home = os.path.realpath(os.path.expanduser("~"))
        if not f"{found}/".startswith(f"{home.rstrip('/')}/"):
            raise HostError(f"{parent} leads out of your home, to {found}", remedy=f"check the path: namei -l {parent}")
        return f"{found}/{name}"
    way = ""
    for part in filter(None, parent.split("/")):
        way = f"{way}/{part}"
        if os.path.islink(way) and os.lstat(way).st_uid not in (0, os.geteuid()):
            raise HostError(
                f"{way} is a symbolic link owned by another user", remedy=f"use the real path: {found}/{name}"
            )
    return f"{found.rstrip('/')}/{name}"


def read_entry(path: str) -> HostEntry | None:
    """Return the entry at a path with a real parent directory; None if missing."""
    parent, name = os.path.split(path)
    with contextlib.suppress(FileNotFoundError), _open_directory(parent) as fd:
        return _stat_entry(fd, name)
    return None


def _sync_directory(path: str) -> None:
    """Sync a directory's entries to disk."""
    with contextlib.suppress(FileNotFoundError), _open_directory(path) as fd:
        os.fsync(fd)


def _rename(source: str, target: str) -> None:
    """Rename a file within its directory, replacing the target; no-op if the source is missing (already renamed)."""
    parent = os.path.dirname(target)
    with contextlib.suppress(FileNotFoundError), _open_directory(parent) as fd:
        os.rename(os.path.basename(source), os.path.basename(target), src_dir_fd=fd, dst_dir_fd=fd)


def _unlink(path: str) -> None:
    """Remove a file or link, if it exists."""
    parent, name = os.path.split(path)
    with contextlib.suppress(FileNotFoundError), _open_directory(parent) as fd:
        os.unlink(name, dir_fd=fd)


def _make_directory(path: str, *, mode: int) -> None:
    """Create a directory, if missing."""
    parent, name = os.path.split(path)
    with contextlib.suppress(FileExistsError), _open_directory(parent) as fd:
        os.mkdir(name, mode, dir_fd=fd)


def _remove_directory(path: str) -> None:
    """Remove a directory, if it exists and is empty."""
    parent, name = os.path.split(path)
    with contextlib.suppress(OSError), _open_directory(parent) as fd:
        os.rmdir(name, dir_fd=fd)


def write_new_file(source: str, target: str, *, mode: int) -> None:
    """Copy a file to a free path and sync it to disk."""
    parent, name = os.path.split(target)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with _open_directory(parent) as fd:
        out_fd = os.open(name, flags, 0o600, dir_fd=fd)
        with os.fdopen(out_fd, "wb") as out, open(source, "rb") as data:
            while chunk := data.read(1 << 20):
                out.write(chunk)
            out.flush()
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())


def _link(leads_to: str, target: str) -> None:
    """Create a link at a free path."""
    parent, name = os.path.split(target)
    with _open_directory(parent) as fd:
        os.symlink(leads_to, name, dir_fd=fd)


def _stat_entry(fd: int, name: str) -> HostEntry | None:
    try:
        facts = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
    mode = stat.S_IMODE(facts.st_mode)
    if stat.S_ISLNK(facts.st_mode):
        leads_to = os.readlink(name, dir_fd=fd)
        return HostEntry(kind="link", mode=LINK_MODE, digest=_compute_link_digest(leads_to))
    if stat.S_ISDIR(facts.st_mode):
        return HostEntry(kind="directory", mode=mode, digest="")
    if not stat.S_ISREG(facts.st_mode):
        return HostEntry(kind="other", mode=mode, digest="")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    with os.fdopen(os.open(name, flags, dir_fd=fd), "rb") as source:
        return HostEntry(kind="file", mode=mode, digest=f"sha256:{hashlib.file_digest(source, 'sha256').hexdigest()}")


def _compute_link_digest(leads_to: str) -> str:
    """Return the digest of a link's target path."""
    return f"sha256:{hashlib.sha256(os.fsencode(leads_to)).hexdigest()}"


def _make_moved_error(path: str) -> HostError:
    return HostError(
        f"{path} was replaced: no longer a directory, or below a link", remedy=f"check the path: namei -l {path}"
    )
