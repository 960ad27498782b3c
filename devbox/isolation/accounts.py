"""Resolution of an image's users to uids and gids by its own /etc/passwd and /etc/group."""

from __future__ import annotations

import os
import stat

from devbox.errors import EngineError
from devbox.isolation import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def read_text(root: str, path: str, *, most: int) -> str | None:
    """Return at most `most` characters of a regular file; None if the root has no such file.

    Symlinks do not escape `root`. The file type is checked before the file is opened: opening a pipe blocks until a
    writer appears, and opening a device can have side effects (a watchdog starts its timer).
    """
    try:
        found = syscalls.open_inside(root, path, os.O_PATH)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            return None
        with open(f"/proc/self/fd/{found}", encoding="utf-8", errors="replace") as source:
            return source.read(most)
    except OSError:
        return None
    finally:
        os.close(found)


PASSWD, GROUP = FILES = ("/etc/passwd", "/etc/group")
_MOST = 1 << 22  # characters read per file


class Account:
    """The uid, gid and supplementary groups of a process."""

    def __init__(self, uid: int, gid: int, groups: tuple[int, ...]) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups


def read_file(root: str, path: str) -> str:
    """Return a file's text as seen by a container with this root; "" if the path is missing or not a regular file."""
    return read_text(root, path, most=_MOST) or ""


def check_account_files(root: str) -> None:
    """Refuse a root whose account files would block or exhaust a runtime: runc always opens both.

    Raises EngineError if a file exists and is not a regular file of bounded size.
    """
    for path in FILES:
        try:
            found = syscalls.open_inside(root, path, os.O_PATH)
        except OSError:
            continue
        try:
            facts = os.fstat(found)
        finally:
            os.close(found)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > _MOST:
            raise EngineError(
                f"invalid {path} for runc in the container: expected a regular file of at most {_MOST >> 20} MiB",
                remedy="use crun, which does not read it: DEVBOX_RUNTIME=crun devbox up",
            )


def find_home(uid: int, passwd: str) -> str:
    """Return the home directory of a user; "/" if passwd names none."""
    line = _find_passwd_line(str(uid), passwd, by_name=False)
    return line[5] if line and line[5].startswith("/") else "/"


def find(user: str, passwd: str, group: str) -> Account:
    """Return the account of `NAME`, `UID`, `NAME:GROUP` or `UID:GID`, with its supplementary groups.

    A number requires no entry (its group is then 0, as in Docker). The group itself is the first supplementary group: a
    process that changes its gid stays a member. Raises EngineError for an unknown name.
    """
    user_name, _, wanted_group = user.partition(":")
    user_name = user_name or "0"  # `:GROUP`
    line = _find_passwd_line(user_name, passwd)
    if line is None and not _is_number(user_name):
        raise EngineError(
            f"user {user_name} not found in the image", remedy="list its users: devbox run -- getent passwd"
        )
    uid = int(line[2]) if line else int(user_name)
    gid = _find_gid(wanted_group, group) if wanted_group else int(line[3]) if line else 0
    others = () if wanted_group or line is None else _list_supplementary_gids(line[0], group, excluded=gid)
    return Account(uid, gid, (gid, *others))


def _find_passwd_line(user_name: str, passwd: str, *, by_name: bool = True) -> list[str] | None:
    lines = [line for line in _parse_lines(passwd, 7) if by_name and line[0] == user_name]
    if not lines and _is_number(user_name):
        lines = [line for line in _parse_lines(passwd, 7) if line[2] == user_name]
    return lines[0] if lines else None


def _find_gid(name: str, group: str) -> int:
    if _is_number(name):
        return int(name)
    for line in _parse_lines(group, 4):
        if line[0] == name:
            return int(line[2])
    raise EngineError(f"group {name} not found in the image", remedy="list its groups: devbox run -- getent group")


def _list_supplementary_gids(name: str, group: str, *, excluded: int) -> tuple[int, ...]:
    found = {int(line[2]) for line in _parse_lines(group, 4) if name in line[3].split(",")}
    return tuple(sorted(found - {excluded}))


def _parse_lines(text: str, fields: int) -> Iterator[list[str]]:
    """Yield the well-formed entries of a colon-separated file."""
    for raw in text.splitlines():
        line = raw.split(":")
        if len(line) == fields and _is_number(line[2]):
            yield line


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
