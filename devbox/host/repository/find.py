"""Where the git repository of a directory lies. Devbox reads it by itself: no git of this machine looks into it.

A container writes to it. Git would run what its configuration names; this reader knows no configuration.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import NamedTuple

from devbox.host import worktree
from devbox.host.beneath import Project, read_all

GIT = ".git"
_MARK = b"gitdir: "
_LONGEST = 4096


class Place(NamedTuple):
    """A directory, and the one in it that counts, which is reached over no link."""

    root: str
    inner: str

    def open(self) -> Project:
        """That directory as the whole of what can be reached."""
        return Project(self.root, self.inner)


class Repository(NamedTuple):
    """A working tree, the directory of its HEAD and index, and that of its objects and branches."""

    top: str
    own: Place
    common: Place


def find(directory: str) -> Repository | None:
    """The repository whose working tree a directory lies in; None where there is none that may be believed.

    One above the directory must belong to its owner, to root or to this user, and lie on the same file system.
    """
    facts = os.stat(directory)
    at = directory
    while True:
        with contextlib.suppress(OSError, ValueError):
            if found := _at(at, facts.st_uid):
                return found
        above = os.path.dirname(at)
        try:
            if above == at or os.stat(above).st_dev != facts.st_dev:
                return None
        except OSError:
            return None
        at = above


def inside(outer: Repository, path: str) -> Repository | None:
    """That of a submodule, or of another repository in the working tree, at a path of it."""
    with contextlib.suppress(OSError, ValueError):
        return _at_path(outer.top, path)
    return None


def _at(top: str, owner: int) -> Repository | None:
    with Project(top) as project:
        facts = project.stat(GIT, links=False)
        if facts.st_uid not in (owner, 0, os.geteuid()):
            return None
        if stat.S_ISDIR(facts.st_mode):
            return _checked(top, Place(top, GIT))
    if linked := worktree.common_of(top, owner=owner):
        common, name = linked
        return _checked(top, Place(common, f"worktrees/{name}"), Place(common, ""))
    return _of_submodule(top, owner)


def _at_path(top: str, path: str) -> Repository | None:
    place = f"{top}/{path}"
    with Project(top) as project:
        if stat.S_ISDIR(project.stat(f"{path}/{GIT}", links=False).st_mode):
            return _checked(place, Place(top, f"{path}/{GIT}"))
        written = _written(project, f"{path}/{GIT}")
    inner = os.path.normpath(os.path.join(path, written))
    return _checked(place, Place(top, inner)) if inner.startswith(f"{GIT}/modules/") else None


def _of_submodule(top: str, owner: int) -> Repository | None:
    """That of a working tree which is a submodule of one above it: nothing else may be named by its file."""
    with Project(top) as project:
        place = os.path.normpath(os.path.join(top, _written(project, GIT)))
    above, modules, name = place.partition(f"/{GIT}/modules/")
    if modules and f"{top}/".startswith(f"{above}/") and os.stat(above).st_uid in (owner, 0):
        return _checked(top, Place(above, f"{GIT}/modules/{name}"))
    return None


def _written(project: Project, path: str) -> str:
    """The directory that a `.git` file names."""
    with open(project.open(path, links=False), "rb") as source:
        text = read_all(source, path, limit=_LONGEST)
    if not text.startswith(_MARK):
        raise ValueError("it names no repository")
    return os.fsdecode(text.removeprefix(_MARK).rstrip(b"\n"))


def _checked(top: str, own: Place, common: Place | None = None) -> Repository:
    """A repository that is one: it has a HEAD and objects. OSError otherwise."""
    shared = common or own
    with own.open() as place:
        place.stat("HEAD", links=False)
    with shared.open() as place:
        place.stat("objects", links=False)
    return Repository(top, own, shared)
