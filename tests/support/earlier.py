"""The previous version of devbox, kept as an archive of its code, for use on the same home as the current one."""

from __future__ import annotations

import shutil
import site
import sys
import tarfile
import venv
from pathlib import Path

from support.machine import Box

# `git archive 92f7b22 devbox recipes templates`: the last version before modules moved.
ARCHIVE = Path(__file__).with_name("previous") / "devbox-92f7b22.tar.xz"


class EarlierBox(Box):
    """A box of root that runs the earlier version; processes that it starts run that version, too."""

    python: str

    def argv(self, *words: str | Path) -> list[str]:
        """Return the command line that runs the earlier devbox."""
        return [self.python, "-m", "devbox", *map(str, words)]


def unpack(box: Box, directory: Path) -> EarlierBox:
    """Return a box of the earlier version with the home of another box."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(directory / "code", filter="data")
    return _create_box(box, directory)


def copy(box: Box, directory: Path) -> EarlierBox:
    """Return a box of a copy of this version, which a test may change, with the home of another box."""
    root = Path(__file__).parents[2]
    for name in ("devbox", "recipes", "templates"):
        shutil.copytree(root / name, directory / "code" / name, ignore=shutil.ignore_patterns("__pycache__"))
    return _create_box(box, directory)


def _create_box(box: Box, directory: Path) -> EarlierBox:
    """Create a virtual environment that finds `directory`/code before this version: a supervisor ignores PYTHONPATH."""
    code, own = directory / "code", directory / "venv"
    venv.create(own, with_pip=False)
    lib = own / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    (lib / "earlier.pth").write_text("\n".join((str(code), *site.getsitepackages(), "")))
    made = EarlierBox(box.home, box.user, box.runtime, box.projects, {**box.variables, "PYTHONPATH": str(code)})
    made.python = str(own / "bin/python")
    return made
