"""The worker's part: what is kept of a build's work, what is copied into an image, what is copied out of one."""

from __future__ import annotations

import glob
import os

from devbox.errors import BakeFailed
from devbox.images import overlay
from devbox.images.build import copying
from devbox.images.job import OUTPUT, WORK
from devbox.images.overlay import Outside
from devbox.isolation import forks
from devbox.model.image import Copy


def take(place: str, output: tuple[str, ...]) -> str:
    """Move what a build put out aside; the directory that holds it. No link leads out of the place meanwhile."""
    os.makedirs(f"{place}/kept/{OUTPUT}", 0o755)

    def move() -> None:
        os.chroot(place)
        os.chdir("/")
        for pattern in output:
            for name in _named(pattern):
                _move(name)

    forks.inside(move)
    return f"{place}/kept"


def copy_in(step: Copy, *, source: str, lowers: tuple[str, ...], place: str, rootless: bool) -> str:
    """Copy the output that lies at `source` over the layers; the directory that then holds the changes."""

    def copy() -> None:
        for path, target in step.paths.items():
            _led(target)
            copying.into(f"/{overlay.OUTSIDE}/source/{OUTPUT}/{path}", target, what=path)

    outside = {"source": Outside(source, read_only=True)}
    return overlay.inside(copy, lowers=lowers, place=place, rootless=rootless, outside=outside)


def copy_out(paths: tuple[str, ...], *, lowers: tuple[str, ...], place: str, target: str, rootless: bool) -> None:
    """Copy files and directories out of the layers, links followed: each to the number of its place in `paths`."""

    def copy() -> None:
        for number, path in enumerate(paths):
            real = _led(path)
            if not os.path.exists(real):
                raise BakeFailed(f"the image has no {path}")
            if not (os.path.isfile(real) or os.path.isdir(real)):
                raise BakeFailed(
                    f"{path} of the image is neither a file nor a directory", remedy="name another path of the image"
                )
            copying.copy(real, f"/{overlay.OUTSIDE}/target/{number}", but=f"/{overlay.OUTSIDE}")

    outside = {"target": Outside(target, read_only=False)}
    overlay.inside(copy, lowers=lowers, place=place, rootless=rootless, outside=outside)


def _led(path: str) -> str:
    """Where a path of the image leads. BakeFailed where that is what is shown of the host."""
    real = os.path.realpath(path)
    if f"{real}/".startswith(f"/{overlay.OUTSIDE}/"):
        raise BakeFailed(
            f"{path} of the image leads to /{overlay.OUTSIDE}, which devbox uses itself",
            remedy="name another path of the image",
        )
    return real


def _named(pattern: str) -> list[str]:
    found = glob.glob(pattern, root_dir=f"/{WORK}", recursive=True, include_hidden=True)
    found = sorted(os.path.normpath(name) for name in found)
    if not found:
        raise BakeFailed(
            f"the build left no {pattern}, which [build] names in output",
            remedy="let a command of run make it, or correct output",
        )
    return [name for name in found if not any(name.startswith(f"{other}/") for other in found)]


def _move(name: str) -> None:
    """One move, unless it was part of another pattern's."""
    source, target = f"/{WORK}/{name}", f"/kept/{OUTPUT}/{name}"
    if os.path.lexists(source):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.rename(source, target)
