"""The previous version of devbox, kept as an archive of its code, on the same home as this one."""

from __future__ import annotations

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
    """Return a box of the earlier version with the home of another box.

    Its own interpreter finds the earlier code before this one: a supervisor ignores PYTHONPATH.
    """
    code, own = directory / "code", directory / "venv"
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(code, filter="data")
    venv.create(own, with_pip=False)
    lib = own / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    (lib / "earlier.pth").write_text("\n".join((str(code), *site.getsitepackages(), "")))
    made = EarlierBox(box.home, box.user, box.runtime, box.projects, {**box.variables, "PYTHONPATH": str(code)})
    made.python = str(own / "bin/python")
    return made
