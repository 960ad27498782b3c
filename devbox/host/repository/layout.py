"""Location of a directory's git repository or linked worktree, read without running the host's git.

Containers write to the repository, and git would run programs from its configuration; this reader ignores it.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import struct
from collections.abc import Iterator
from typing import NamedTuple

from devbox.host import safe_files
from devbox.host.safe_files import ProjectDirectory, read_all

GIT = ".git"
_MARK = b"gitdir: "
_LONGEST = 4096  # bytes of a `.git` file
_NEVER_OVER = ("/proc", "/sys", "/dev", "/.devbox")  # paths where containers have mounts


class GitDirectory(NamedTuple):
    """A directory and its relevant subdirectory, which is reached without links."""

    root: str
    inner: str

    def open(self) -> ProjectDirectory:
        """Open the subdirectory as a root of its own."""
        return ProjectDirectory(self.root, self.inner)


class GitRepository(NamedTuple):
    """A working tree, the directory of its HEAD and index, and that of its objects and branches."""

    top: str
    own: GitDirectory
    common: GitDirectory


def find_repository(directory: str) -> GitRepository | None:
    """Return the repository whose working tree contains a directory; None without a trusted one.

    A repository above the directory must belong to its owner, root or this user, and be on the same file system.
    """
    facts = os.stat(directory)
    at = directory
    while True:
        with contextlib.suppress(OSError, ValueError):
            if found := _load_top(at, facts.st_uid):
                return found
        above = os.path.dirname(at)
        try:
            if above == at or os.stat(above).st_dev != facts.st_dev:
                return None
        except OSError:
            return None
        at = above


def find_nested(outer: GitRepository, path: str) -> GitRepository | None:
    """Return the repository of a submodule, or another one, at a path of the working tree."""
    with contextlib.suppress(OSError, ValueError):
        return _load_nested(outer.top, path)
    return None


def _load_top(top: str, owner: int) -> GitRepository | None:
    with ProjectDirectory(top) as project:
        facts = project.stat(GIT, links=False)
        if facts.st_uid not in (owner, 0, os.geteuid()):
            return None
        if stat.S_ISDIR(facts.st_mode):
            return _check_repository(top, GitDirectory(top, GIT))
    if linked := find_common_dir(top, owner=owner):
        common, name = linked
        return _check_repository(top, GitDirectory(common, f"worktrees/{name}"), GitDirectory(common, ""))
    return _load_submodule(top, owner)


def _load_nested(top: str, path: str) -> GitRepository | None:
    place = f"{top}/{path}"
    with ProjectDirectory(top) as project:
        if stat.S_ISDIR(project.stat(f"{path}/{GIT}", links=False).st_mode):
            return _check_repository(place, GitDirectory(top, f"{path}/{GIT}"))
        written = _read_gitfile(project, f"{path}/{GIT}")
    inner = os.path.normpath(os.path.join(path, written))
    return _check_repository(place, GitDirectory(top, inner)) if inner.startswith(f"{GIT}/modules/") else None


def _load_submodule(top: str, owner: int) -> GitRepository | None:
    """Load the repository of a submodule; its gitfile may only refer to a parent's `.git/modules`."""
    with ProjectDirectory(top) as project:
        place = os.path.normpath(os.path.join(top, _read_gitfile(project, GIT)))
    above, modules, name = place.partition(f"/{GIT}/modules/")
    if modules and f"{top}/".startswith(f"{above}/") and os.stat(above).st_uid in (owner, 0):
        return _check_repository(top, GitDirectory(above, f"{GIT}/modules/{name}"))
    return None


def _read_gitfile(project: ProjectDirectory, path: str) -> str:
    """Return the directory that a `.git` file refers to."""
    with open(project.open(path, links=False), "rb") as source:
        text = read_all(source, path, limit=_LONGEST)
    if not text.startswith(_MARK):
        raise ValueError("missing repository")
    return os.fsdecode(text.removeprefix(_MARK).rstrip(b"\n"))


def _check_repository(top: str, own: GitDirectory, common: GitDirectory | None = None) -> GitRepository:
    """Return a repository after checking for HEAD and objects; raise OSError otherwise."""
    shared = common or own
    with own.open() as place:
        place.stat("HEAD", links=False)
    with shared.open() as place:
        place.stat("objects", links=False)
    return GitRepository(top, own, shared)


HEADS = "refs/heads/"
_SYMBOLIC = "ref:"
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NAME = re.compile(r"refs/(?!.*(?:/\.|\.\.|//))[^\x00-\x20\x7f~^:?*\[\\]+(?<![/.])")
_LONGEST_REF = 4096
_PACKED, _MOST_PACKED = "packed-refs", 64 << 20
_NESTED = 5
_MOST = 100_000  # branches
_NO_NAME = "refs/heads/.invalid"  # placeholder HEAD of a repository with another ref format


def read_branch(repository: GitRepository) -> str | None:
    """Return the checked-out branch; None if HEAD is detached."""
    target = _read_symbolic_ref(repository.own, "HEAD")
    return target.removeprefix(HEADS) if target.startswith(HEADS) and target != _NO_NAME else None


def read_head(repository: GitRepository) -> str | None:
    """Return the checked-out commit in hex; None before the first commit."""
    return _resolve_ref(repository, "HEAD")


def read_branches(repository: GitRepository) -> tuple[str, ...]:
    """Return the names of all branches with a commit."""
    found = {name for name, _ in _read_packed_refs(repository) if name.startswith(HEADS)}
    place = repository.common
    inner = f"{place.inner}/refs/heads".lstrip("/")
    for path, _ in safe_files.walk(place.root, inner):
        found.add(f"{HEADS}{path.removeprefix(f'{inner}/')}")
        if len(found) > _MOST:
            break
    return tuple(sorted(name.removeprefix(HEADS) for name in found if _NAME.fullmatch(name)))


def _resolve_ref(repository: GitRepository, name: str) -> str | None:
    for _ in range(_NESTED):
        text = _read_text(repository.own if name == "HEAD" else repository.common, name)
        if not text.startswith(_SYMBOLIC):
            break
        name = text.removeprefix(_SYMBOLIC).strip()
        if not _NAME.fullmatch(name):
            return None
    if _COMMIT.fullmatch(text):
        return text
    return next((digits for known, digits in _read_packed_refs(repository) if known == name), None)


def _read_symbolic_ref(place: GitDirectory, name: str) -> str:
    """Return the target of a symbolic ref; "" for other refs."""
    text = _read_text(place, name)
    target = text.removeprefix(_SYMBOLIC).strip()
    return target if text.startswith(_SYMBOLIC) and _NAME.fullmatch(target) else ""


def _read_packed_refs(repository: GitRepository) -> Iterator[tuple[str, str]]:
    for line in _read_text(repository.common, _PACKED, limit=_MOST_PACKED).splitlines():
        digits, _, name = line.partition(" ")
        if _COMMIT.fullmatch(digits):
            yield name, digits


def _read_text(place: GitDirectory, path: str, *, limit: int = _LONGEST_REF) -> str:
    """Return the text of a repository's file; "" if unusable."""
    try:
        with place.open() as directory:
            return _read(directory, path, limit).decode(errors="surrogateescape").rstrip("\n")
    except OSError:
        return ""


def _read(directory: ProjectDirectory, path: str, limit: int) -> bytes:
    with open(directory.open(path), "rb") as source:
        return read_all(source, path, limit=limit)


_LARGEST = 128 << 20
_HEAD, _FACTS = 12, 40  # bytes before the first entry, and of an entry before its hash
_EXTENDED = 0x4000
_VERSIONS = (2, 3, 4)
_PACKED_PATHS = 4


def read_index_paths(repository: GitRepository, *, hash_length: int) -> list[str] | None:
    """Return the paths in the index; None if it is missing or unreadable. `hash_length`: in bytes."""
    try:
        with repository.own.open() as place, open(place.open("index"), "rb") as source:
            raw = read_all(source, "index", limit=_LARGEST)
        mark, version, count = struct.unpack(">4sII", raw[:_HEAD])
        if mark != b"DIRC" or version not in _VERSIONS:
            return None
        return _parse_entries(raw, version, count, hash_length)
    except (OSError, ValueError, struct.error, IndexError):
        return None


def _parse_entries(raw: bytes, version: int, count: int, hash_length: int) -> list[str]:
    found, at, last = [], _HEAD, b""
    for _ in range(count):
        start, at = at, at + _FACTS + hash_length
        (flags,) = struct.unpack_from(">H", raw, at)
        at += 4 if flags & _EXTENDED else 2
        if version == _PACKED_PATHS:
            gone, at = _parse_offset(raw, at)
            end = raw.index(b"\0", at)
            name, at = last[: len(last) - gone] + raw[at:end], end + 1
        else:
            end = raw.index(b"\0", at)
            name, at = raw[at:end], start + ((end - start + 8) & ~7)
        last = name
        found.append(name.decode(errors="surrogateescape"))
    return found


def _parse_offset(raw: bytes, at: int) -> tuple[int, int]:
    """Parse a variable-length offset as in packs: each byte but the last adds one."""
    value = raw[at] & 0x7F
    while raw[at] & 0x80:
        at += 1
        value = ((value + 1) << 7) | (raw[at] & 0x7F)
    return value, at + 1


def find_branch(root: str) -> str | None:
    """Return the checked-out branch; None if HEAD is detached, and without a repository."""
    found = find_repository(root)
    return read_branch(found) if found else None


def list_branches(root: str) -> tuple[str, ...] | None:
    """Return all branches, including an unborn one; None without a repository."""
    found = find_repository(root)
    if found is None:
        return None
    current = read_branch(found)
    known = read_branches(found)
    return tuple(dict.fromkeys([*known, *([current] if current else [])])) or None


def find_head_file(root: str) -> str | None:
    """Return the HEAD file, which is replaced on every checkout of a branch; None without a repository."""
    found = find_repository(root)
    return os.path.join(found.own.root, found.own.inner, "HEAD") if found else None


class WorktreeRepository(NamedTuple):
    """The common directory of a worktree, and its location for git in a container."""

    common: str  # on the host, canonical
    target: str  # in the container
    backlink: str  # in the container: the file with the worktree's location


def find_worktree(root: str, workspace: str, *, owner: int) -> WorktreeRepository | None:
    """Return the repository of the linked worktree `root`, which a container has at `workspace`.

    None if `root` is not a worktree, its reference is invalid, or its repository cannot be mounted.
    """
    if (found := _find_admin_dir(root, owner)) is None:
        return None
    written, common = found
    inside = os.path.normpath(os.path.join(workspace, written))
    target = _get_common_dir(inside)
    if _overlap(common, root) or not target or not _is_free(target, workspace):
        return None
    return WorktreeRepository(common, target, f"{inside}/gitdir")


def find_common_dir(root: str, *, owner: int) -> tuple[str, str] | None:
    """Return the common directory of the linked worktree `root`, and its name there; None if it is not one."""
    if (found := _find_admin_dir(root, owner)) is None:
        return None
    written, common = found
    return common, os.path.basename(os.path.normpath(os.path.join(root, written)))


def _find_admin_dir(root: str, owner: int) -> tuple[str, str] | None:
    """Return the administrative directory of a worktree as written in its `.git` file, and the common directory."""
    with contextlib.suppress(OSError, ValueError):
        mark, written = _read_line(f"{root}/.git").split(maxsplit=1)
        admin = os.path.normpath(os.path.join(root, written))
        common = _get_common_dir(admin)
        if mark == "gitdir:" and common and _is_real(admin, common, root, owner):
            return written, common
    return None


def _get_common_dir(admin: str) -> str:
    """Return COMMON of COMMON/worktrees/NAME; "" for any other path."""
    above, _ = os.path.split(admin)
    common, worktrees = os.path.split(above)
    return common if worktrees == "worktrees" and common != "/" else ""


def _is_real(admin: str, common: str, root: str, owner: int) -> bool:
    """Return whether the repository lists this worktree and belongs to its owner."""
    if os.path.realpath(admin) != admin or _read_line(f"{admin}/commondir") != "../..":
        return False
    if any(os.stat(directory).st_uid != owner for directory in (common, admin)):
        return False
    return os.path.realpath(os.path.join(admin, _read_line(f"{admin}/gitdir"))) == f"{root}/.git"


def _overlap(common: str, root: str) -> bool:
    return f"{common}/".startswith(f"{root}/") or f"{root}/".startswith(f"{common}/")


def _is_free(target: str, workspace: str) -> bool:
    """Return whether a mount there would hide neither standard mounts nor the project."""
    places = (*_NEVER_OVER, workspace)
    return not any(f"{target}/".startswith(f"{place}/") or f"{place}/".startswith(f"{target}/") for place in places)


def _read_line(path: str) -> str:
    """Read a small file's only line; raise OSError if not regular; links and devices are not followed."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb") as source:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise FileNotFoundError(path)
        return source.read(_LONGEST).decode().removesuffix("\n")
