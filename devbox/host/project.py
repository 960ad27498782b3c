"""Project discovery: walks up to the nearest env file. Standard library only: every command starts here."""

from __future__ import annotations

import os

from devbox.errors import UsageError
from devbox.model.ids import INSTANCE_ID_LENGTH, compute_instance_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.host.paths import Paths

ENV_FILE = "devbox.toml"
LOCAL_FILE = "devbox.local.toml"


def find(start: str, *, file: str | None = None) -> tuple[str, str]:
    """Return the project's canonical root and its env file's name.

    `file` names the env file itself (relative to `start`). Otherwise it is the nearest devbox.toml at or above `start`;
    one of a foreign owner is an error, because its commands would run as this user.
    """
    if file is not None:
        return _resolve_explicit(os.path.join(start, file))
    directory = os.path.realpath(start)
    if not os.path.isdir(directory):
        raise UsageError(f"invalid directory {start}: not a directory", remedy="name a directory: devbox -C DIR")
    while True:
        path = os.path.join(directory, ENV_FILE)
        if os.path.lexists(path):
            _refuse_foreign(path)
            return directory, ENV_FILE
        parent = os.path.dirname(directory)
        if parent == directory:
            raise UsageError(
                f"{ENV_FILE} not found in {os.path.realpath(start)} or its parents",
                remedy="create one with: devbox init",
            )
        directory = parent


def identify(paths: Paths, root: str, env_file: str) -> str:
    """Return the instance id of the project at a place: the place's own key, unless the project was moved.

    Invalid ids in the file are ignored: paths are built from ids, and `../..` would escape the home.
    """
    key = compute_instance_id(root, env_file)
    try:
        with open(paths.moved_project(key), encoding="ascii", errors="replace", opener=_open_nonblocking) as source:
            found = source.read(INSTANCE_ID_LENGTH)
    except (FileNotFoundError, IsADirectoryError):
        return key
    return found if len(found) == INSTANCE_ID_LENGTH and found.isalnum() else key


def _open_nonblocking(path: str, flags: int) -> int:
    """Opener that does not block on a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _resolve_explicit(path: str) -> tuple[str, str]:
    if not os.path.isfile(path):
        raise UsageError(f"env file {path} not found", remedy="create a devbox.toml with: devbox init")
    directory, name = os.path.split(os.path.abspath(path))
    return os.path.realpath(directory), name


def find_by_file(path: str, *, root: str = "") -> tuple[str, str]:
    """Return the project that a user-given path passes through, and the remaining path; ("", path) for none.

    Of nested projects, the innermost one counts that is reachable from the outer ones without links: a container may
    have created a link out of its project. `root`: counts as a project although its env file has another name.
    """
    way, inner = os.path.split(os.path.abspath(path))
    found, real, rest = "", "", path
    while True:
        if way == root or os.path.lexists(os.path.join(way, ENV_FILE)):
            here = os.path.realpath(way)
            if not found or real != os.path.normpath(os.path.join(here, os.path.relpath(found, way))):
                found, real, rest = way, here, inner
        above, name = os.path.split(way)
        if above == way:
            return real, rest
        way, inner = above, os.path.join(name, inner)


def _refuse_foreign(path: str) -> None:
    """Accept the caller's and root's files; root also accepts a project that another user owns entirely."""
    try:
        owner = os.stat(path).st_uid
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", remedy=f"check the permissions: ls -l {path}"
        ) from None
    trusted = {os.geteuid(), 0}
    if os.geteuid() == 0:
        trusted.add(os.stat(os.path.dirname(path)).st_uid)
    if owner not in trusted:
        raise UsageError(
            f"untrusted env file {path}: belongs to uid {owner}, neither to you nor to root",
            remedy=f"review it, then name it: devbox -f {path} …",
        )
