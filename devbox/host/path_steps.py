"""Stepwise path resolution in a project: each component is opened relative to its opened parent."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

DEEPEST = 128  # nested directories
PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 32


class UnusablePath(OSError):
    """A path of a project that is refused. `strerror` contains the reason: "it …"."""


class PathWalker:
    """The open directories from a project's root to the current position."""

    def __init__(self, root: str, top: int, *, links: bool, make: int) -> None:
        self.root = root
        self.stack = [os.dup(top)]
        self.straight = True  # no link was followed
        self._links = links
        self._make = make
        self._followed = 0

    def close(self) -> None:
        """Close the directories."""
        for fd in self.stack:
            os.close(fd)

    def walk(self, path: str, *, last: bool) -> int:
        """Walk a path; return an O_PATH descriptor. Without `last`, a link at the end is returned itself."""
        parts = [part for part in reversed(self._make_relative(path).split("/")) if part not in ("", ".")]
        while parts:
            part = parts.pop()
            if part == "..":
                self._ascend(path)
                continue
            found = self._open(part)
            mode = os.fstat(found).st_mode
            if stat.S_ISLNK(mode) and (self._links or last or parts):
                try:
                    leads_to = self._follow(found, path)
                finally:
                    os.close(found)
                parts += [part for part in reversed(leads_to.split("/")) if part not in ("", ".")]
            elif parts and stat.S_ISDIR(mode):
                self._descend(found, path)
            elif parts:
                os.close(found)
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            else:
                return found
        return os.dup(self.stack[-1])

    def _open(self, part: str) -> int:
        try:
            return os.open(part, PATH, dir_fd=self.stack[-1])
        except FileNotFoundError:
            if not self._make:
                raise
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, self._make, dir_fd=self.stack[-1])
                if os.geteuid() == 0:
                    owner = os.stat(self.root)
                    os.chown(part, owner.st_uid, owner.st_gid, dir_fd=self.stack[-1], follow_symlinks=False)
            return os.open(part, PATH, dir_fd=self.stack[-1])

    def _follow(self, link: int, path: str) -> str:
        """Return a link's target, relative to the then current directory."""
        self.straight = False
        self._followed += 1
        if not self._links:
            raise UnusablePath(errno.ELOOP, "link, or below a link", path)
        if self._followed > _MOST_LINKS:
            raise UnusablePath(errno.ELOOP, "circular link", path)
        leads_to = os.readlink("", dir_fd=link)
        if not leads_to.startswith("/"):
            return leads_to
        for fd in self.stack[1:]:
            os.close(fd)
        del self.stack[1:]
        return self._make_relative(leads_to, named=path)

    def _make_relative(self, path: str, *, named: str = "") -> str:
        if not path.startswith("/"):
            return path
        root = self.root.rstrip("/")
        if path != root and not path.startswith(f"{root}/"):
            raise UnusablePath(errno.EXDEV, "link out of the project", named or path)
        return path[len(root) :]

    def _ascend(self, path: str) -> None:
        if len(self.stack) == 1:
            raise UnusablePath(errno.EXDEV, "leads out of the project", path)
        os.close(self.stack.pop())

    def _descend(self, directory: int, path: str) -> None:
        self.stack.append(directory)
        if len(self.stack) > DEEPEST:
            raise UnusablePath(errno.ENAMETOOLONG, f"nested more than {DEEPEST} directories deep", path)
