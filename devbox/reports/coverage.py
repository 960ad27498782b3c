"""Coverage files of all cells in one directory, named by cell, for `coverage combine`.

`.coverage` becomes `.coverage.CELL`, `coverage.xml` `coverage.CELL.xml`. Files of an earlier run are removed.
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

_LIST = ".devbox-coverage.json"  # files written by the last run


def collect(run: MatrixRun, directory: str, *, root: str = "") -> list[str]:
    """Copy the coverage files; return their new names. `root`: of the project."""
    within, inner = project.find_by_file(f"{directory}/{_LIST}", root=root)
    if not within:
        os.makedirs(directory, exist_ok=True)
        within, inner = os.path.realpath(directory), _LIST
    target = CoverageTarget(within, inner.rpartition("/")[0])
    target.remove_earlier()
    desired = [
        (path, name_file(os.path.basename(path), result.cell.name)) for result in run.cells for path in result.coverage
    ]
    names = _make_unique([name for _, name in desired])
    target.write(_LIST, json.dumps(names) + "\n")
    for (path, _), name in zip(desired, names, strict=True):
        with open(path, "rb") as source:
            target.write(name, source.read())
    return names


class CoverageTarget(NamedTuple):
    """Target directory: a path below a root that links cannot leave."""

    root: str
    inner: str

    def write(self, name: str, data: bytes | str) -> None:
        """Write a file, replacing an existing one."""
        safe_files.write(self.root, self._join_path(name), data)

    def remove_earlier(self) -> None:
        """Remove the files of an earlier run."""
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
    """Rename `.coverage` to `.coverage.python=3.11,pg=15`, `coverage.xml` to `coverage.python=3.11,pg=15.xml`."""
    stem, ending = os.path.splitext(name)
    cell = "".join(char if char.isalnum() or char in "=,.-_" else "-" for char in cell)
    if name.startswith(".coverage"):  # prefix expected by `coverage combine`
        return f"{name}.{cell}"
    return f"{stem}.{cell}{ending}"


def _make_unique(names: list[str]) -> list[str]:
    """Number duplicate names, as of files of one cell in different directories."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        stem, ending = os.path.splitext(name) if not name.startswith(".") else (name, "")
        unique.append(name if seen[name] == 1 else f"{stem}.{seen[name]}{ending}")
    return unique
