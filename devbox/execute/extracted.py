"""What was copied out of an image, as files to be put onto the host: each with its place, its mode, its digest."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from devbox.errors import EnvFileError, HostError
from devbox.host import placing
from devbox.model.install import Install, Installed

_PERMISSIONS, _SET_ID = 0o777, 0o6000


class File(NamedTuple):
    """A file to be put onto the host, and its copy."""

    installed: Installed
    source: str


def files(install: Install, copies: str, *, umask: int, set_id: bool) -> list[File]:
    """The files of an install. Those of a directory keep their places in it. `set_id`: set-uid bits may stay."""
    found: dict[str, File] = {}
    for number, (place, path) in enumerate(install.files.items()):
        source = f"{copies}/{number}"
        into = place.endswith("/") and not os.path.isdir(source)
        target = f"{place}{os.path.basename(path)}" if into else place
        for each in _walk(source, placing.real(target)):
            file = _file(*each, install=install, top=source, mask=_mask(umask, set_id=set_id))
            if file.installed.path in found:
                raise EnvFileError(
                    f"[install.{install.name}] puts two files at {each[1]}",
                    where=install.where,
                    remedy="give one of them another place",
                )
            found[file.installed.path] = file
    return list(found.values())


def _walk(source: str, place: str) -> Iterator[tuple[str, str]]:
    """Every file and link, with its place."""
    if not os.path.isdir(source) or os.path.islink(source):
        yield source, place
        return
    for name in sorted(os.listdir(source)):
        yield from _walk(f"{source}/{name}", f"{place}/{name}")


def _file(source: str, place: str, *, install: Install, top: str, mask: int) -> File:
    facts = os.lstat(source)
    if stat.S_ISLNK(facts.st_mode):
        leads_to = os.readlink(source)
        if not _stays_below(top, source, leads_to):
            raise HostError(
                f"{place} would be a link to {leads_to}, which is not among the files of [install.{install.name}]",
                where=install.where,
                remedy="let the image have a file there, or a link inside the directory",
            )
        digest = placing.digest_of_link(leads_to)
        return File(Installed(path=place, digest=digest, mode=placing.LINK_MODE, kind="link"), source)
    with open(source, "rb") as data:
        digest = f"sha256:{hashlib.file_digest(data, 'sha256').hexdigest()}"
    return File(Installed(path=place, digest=digest, mode=stat.S_IMODE(facts.st_mode) & mask), source)


def _stays_below(top: str, link: str, leads_to: str) -> bool:
    target = os.path.normpath(os.path.join(os.path.dirname(link), leads_to))
    return not os.path.isabs(leads_to) and target.startswith(f"{top}/")


def _mask(umask: int, *, set_id: bool) -> int:
    """Which bits of a file's mode stay."""
    kept = _PERMISSIONS & ~umask
    return kept | _SET_ID if set_id else kept
