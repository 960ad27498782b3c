"""The `files` step: small text files written over the layers below, without starting a container.

Directories that were there keep their owner and mode. A pipe, socket or device gives way to the file.
"""

from __future__ import annotations

import os

from devbox.images import overlay
from devbox.model.image import Files

DEFAULT_MODE = 0o644


def write_files(step: Files, *, lowers: tuple[str, ...], place: str, rootless: bool) -> str:
    """Write the files; the directory that then holds the changes. The caller is root of the store."""

    def write() -> None:
        for path in sorted(step.contents):
            _write(path, step.contents[path], step.modes.get(path, DEFAULT_MODE))

    return overlay.inside(write, lowers=lowers, place=place, rootless=rootless)


def _write(path: str, text: str, mode: int) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _make_room(os.path.realpath(path))
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
        os.fchmod(out.fileno(), mode)


def _make_room(path: str) -> None:
    """Remove what would not take a file's text: opening a pipe waits for a reader."""
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        os.unlink(path)
