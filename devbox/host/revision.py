"""The revision of a project's files: its git commit, marked if the files differ from it.

The host's git is not run: files are compared with the commit by hash. Differences that git's filters hide therefore
count: converted line endings and Git LFS files.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping, Sequence

from devbox.host import git
from devbox.host.repository import files, layout, objects
from devbox.host.repository.layout import GitRepository, find_nested, find_repository
from devbox.host.repository.objects import LINK, SUBMODULE, Objects, TreeEntry, UnreadableObject
from devbox.host.safe_files import ProjectDirectory, UnusablePath
from devbox.model import ids

_SHORT = 12
_PIECE = 1 << 20
_NESTED = 4  # nested repositories
_UNBORN_HASH = 20


def compute_revision(root: str, inputs: Mapping[str, str], *, but: Sequence[str] = ()) -> str:
    """Return `git:COMMIT`, `git:COMMIT-dirty.DIGITS` if the directory differs, else `files:sha256:…` of `inputs`.

    `inputs`: path → content. Files in `but` are ignored.
    """
    repository = find_repository(root)
    revision = (
        _compute_revision(repository, _get_start(repository, root), frozenset(but), depth=0) if repository else None
    )
    return revision or f"files:{ids.compute_key(dict(inputs))}"


def list_files(root: str) -> list[str] | None:
    """Return all files of a directory that git tracks or does not ignore; None if they are unknown to git."""
    repository = find_repository(root)
    if repository is None:
        return None
    start = _get_start(repository, root)
    try:
        tracked = layout.read_index_paths(repository, hash_length=_find_hash_length(repository))
        if tracked is None and (commit := layout.read_head(repository)):
            with Objects(repository.common) as store:
                tracked = [f"{start}/{path}" if start else path for path in store.list_files(commit, start)]
        found = {
            *(tracked or ()),
            *(path for path, _ in files.list_files(repository, start, excluded=git.read_excludes())),
        }
    except (OSError, UnreadableObject):
        return None
    above = f"{start}/" if start else ""
    inner = sorted(path.removeprefix(above) for path in found if path.startswith(above))
    return inner if inner or not files.is_ignored(repository, start, excluded=git.read_excludes()) else None


def find_ignored(root: str, paths: Iterable[str]) -> frozenset[str]:
    """Return the paths of a directory that git ignores and does not track; empty without a repository."""
    repository = find_repository(root)
    if repository is None:
        return frozenset()
    start = _get_start(repository, root)
    above = f"{start}/" if start else ""
    tracked = frozenset(layout.read_index_paths(repository, hash_length=_find_hash_length(repository)) or ())
    excluded = git.read_excludes()
    untracked = (path for path in paths if above + path not in tracked)
    return frozenset(path for path in untracked if files.is_ignored(repository, above + path, excluded=excluded))


def _compute_revision(repository: GitRepository, start: str, but: frozenset[str], *, depth: int) -> str | None:
    """Return the revision of a directory in a working tree; None without a readable commit."""
    commit = layout.read_head(repository)
    if commit is None:
        return None
    try:
        with Objects(repository.common) as store:
            committed = store.list_files(commit, start)
        if not committed and files.is_ignored(repository, start, excluded=git.read_excludes()):
            return None  # the repository is unrelated, such as one of a home directory
        changes = _hash_changes(repository, start, committed, but, like=commit, depth=depth)
    except (OSError, UnreadableObject):
        return None
    return f"git:{commit}-dirty.{changes}" if changes else f"git:{commit}"


def _hash_changes(
    repository: GitRepository,
    start: str,
    committed: Mapping[str, TreeEntry],
    but: frozenset[str],
    *,
    like: str,
    depth: int,
) -> str:
    """Return the first digits of a hash over all differences from the commit; "" if there are none."""
    above = f"{start}/" if start else ""
    paths = {
        path.removesuffix("/").removeprefix(above)
        for path, _ in files.list_files(repository, start, excluded=git.read_excludes())
    }
    tracked = layout.read_index_paths(repository, hash_length=len(like) // 2) or ()
    paths |= {path.removeprefix(above) for path in tracked if path.startswith(above) and not path.endswith("/")}
    total, differs = hashlib.sha256(), False
    with ProjectDirectory(repository.top) as project:
        for path in sorted((paths | committed.keys()) - but):
            now, same = _compare(project, repository, above + path, committed.get(path), like=like, depth=depth)
            if not same:
                differs = True
                total.update(b"%s\0%s\0" % (os.fsencode(path), os.fsencode(now)))
    return total.hexdigest()[:_SHORT] if differs else ""


def _compare(
    project: ProjectDirectory, repository: GitRepository, path: str, entry: TreeEntry | None, *, like: str, depth: int
) -> tuple[str, bool]:
    """Return the current state of a path, and whether the commit has the same."""
    try:
        facts = project.stat(path, links=False)
        if stat.S_ISLNK(facts.st_mode):
            leads_to = project.readlink(path)
            name = objects.compute_hash("blob", os.fsencode(leads_to), like=like)
            return f"link:{leads_to}", entry == TreeEntry(LINK, name)
        if stat.S_ISDIR(facts.st_mode):
            return _compare_directory(repository, path, entry, depth=depth)
        name = _hash_file(project, path, like)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES) and not isinstance(error, UnusablePath):
            raise
        if error.errno == errno.EFBIG:
            return "unreadable", False
        return "absent", entry is None
    mode = 0o100755 if facts.st_mode & stat.S_IXUSR else 0o100644
    same = entry is not None and entry.name == name and bool(entry.mode & 0o100) == bool(mode & 0o100)
    return f"{mode:o}:{name}", same and entry is not None and stat.S_ISREG(entry.mode)


def _compare_directory(
    repository: GitRepository, path: str, entry: TreeEntry | None, *, depth: int
) -> tuple[str, bool]:
    """Compare a submodule or other repository by its revision; one that is not checked out counts as equal."""
    nested = find_nested(repository, path) if depth < _NESTED else None
    revision = _compute_revision(nested, "", frozenset(), depth=depth + 1) if nested else None
    if entry is None or entry.mode != SUBMODULE:
        return f"repository:{revision}", False
    return f"repository:{revision}", nested is None or revision == f"git:{entry.name}"


def _hash_file(project: ProjectDirectory, path: str, like: str) -> str:
    """Return the git object name of a file's content as of its opening, ignoring later additions."""
    with open(project.open(path, links=False), "rb") as source:
        left = os.fstat(source.fileno()).st_size
        total = objects.create_hash("blob", left, like=like)
        while left > 0 and (piece := source.read(min(left, _PIECE))):
            left -= len(piece)
            total.update(piece)
    return total.hexdigest()


def _find_hash_length(repository: GitRepository) -> int:
    commit = layout.read_head(repository)
    return len(commit) // 2 if commit else _UNBORN_HASH


def _get_start(repository: GitRepository, root: str) -> str:
    """Return a directory's path relative to the top of the working tree."""
    return root[len(repository.top) :].strip("/")
