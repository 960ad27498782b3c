"""The coverage files of all cells in one directory, under names that say whose they are: `coverage combine` takes them.

`.coverage` becomes `.coverage.CELL`, `coverage.xml` `coverage.CELL.xml`. What an earlier run put there goes.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, NamedTuple

from devbox.host import project, safe_files
from devbox.model import jsontext

if TYPE_CHECKING:
    from devbox.model.matrix import MatrixRun

_LIST = ".devbox-coverage.json"  # what was put there


def collect(run: MatrixRun, directory: str, *, root: str = "") -> list[str]:
    """Copy them; the names they have now. `root`: of the project."""
    within, inner = project.find_by_file(f"{directory}/{_LIST}", root=root)
    if not within:
        os.makedirs(directory, exist_ok=True)
        within, inner = os.path.realpath(directory), _LIST
    target = CoverageTarget(within, inner.rpartition("/")[0])
    target.remove_earlier()
    wanted = [
        (path, name_file(os.path.basename(path), result.cell.name)) for result in run.cells for path in result.coverage
    ]
    names = _make_unique([name for _, name in wanted])
    target.write(_LIST, json.dumps(names) + "\n")
    for (path, _), name in zip(wanted, names, strict=True):
        with open(path, "rb") as source:
            target.write(name, source.read())
    return names


class CoverageTarget(NamedTuple):
    """Where they go: a directory, by a path below another one that no link leads out of."""

    root: str
    inner: str

    def write(self, name: str, data: bytes | str) -> None:
        """Write a file in the place of what has that name."""
        safe_files.write(self.root, self._join_path(name), data)

    def remove_earlier(self) -> None:
        """Remove the files that an earlier run put there."""
        try:
            names = jsontext.loads(safe_files.read(self.root, self._join_path(_LIST)))
        except (OSError, ValueError):
            return
        for name in names if isinstance(names, list) else []:
            with contextlib.suppress(OSError):
                path = self._join_path(os.path.basename(str(name)))
                with safe_files.open_regular(self.root, path, links=False):
                    safe_files.unlink(self.root, path)

    def _join_path(self, name: str) -> str:
        return f"{self.inner}/{name}" if self.inner else name


def name_file(name: str, cell: str) -> str:
    """`.coverage` → `.coverage.python=3.11,pg=15`; `coverage.xml` → `coverage.python=3.11,pg=15.xml`."""
    stem, ending = os.path.splitext(name)
    cell = "".join(char if char.isalnum() or char in "=,.-_" else "-" for char in cell)
    if name.startswith(".coverage"):  # its own name is the beginning of what `coverage combine` looks for
        return f"{name}.{cell}"
    return f"{stem}.{cell}{ending}"


def _make_unique(names: list[str]) -> list[str]:
    """Names that are there twice, as of two files of one cell in different directories, get a number."""
    seen: dict[str, int] = {}
    told = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        stem, ending = os.path.splitext(name) if not name.startswith(".") else (name, "")
        told.append(name if seen[name] == 1 else f"{stem}.{seen[name]}{ending}")
    return told
