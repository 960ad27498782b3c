"""The coverage files of all cells in one directory, under names that say whose they are: `coverage combine` takes them.

`.coverage` becomes `.coverage.CELL`, `coverage.xml` `coverage.CELL.xml`. What an earlier run put there goes.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

from devbox.host import files

if TYPE_CHECKING:
    from devbox.model.matrix import MatrixRun

_LIST = ".devbox-coverage.json"  # what was put there


def collect(run: MatrixRun, directory: str) -> list[str]:
    """Copy them; the names they have now."""
    os.makedirs(directory, exist_ok=True)
    _remove_earlier(directory)
    wanted = [
        (path, name_of(os.path.basename(path), result.cell.name)) for result in run.cells for path in result.coverage
    ]
    names = _told_apart([name for _, name in wanted])
    files.write_atomic(f"{directory}/{_LIST}", json.dumps(names) + "\n")
    for (path, _), name in zip(wanted, names, strict=True):
        shutil.copyfile(path, f"{directory}/{name}")
    return names


def name_of(name: str, cell: str) -> str:
    """`.coverage` → `.coverage.python=3.11,pg=15`; `coverage.xml` → `coverage.python=3.11,pg=15.xml`."""
    stem, ending = os.path.splitext(name)
    cell = "".join(char if char.isalnum() or char in "=,.-_" else "-" for char in cell)
    if name.startswith(".coverage"):  # its own name is the beginning of what `coverage combine` looks for
        return f"{name}.{cell}"
    return f"{stem}.{cell}{ending}"


def _told_apart(names: list[str]) -> list[str]:
    """Names that are there twice, as of two files of one cell in different directories, get a number."""
    seen: dict[str, int] = {}
    told = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        stem, ending = os.path.splitext(name) if not name.startswith(".") else (name, "")
        told.append(name if seen[name] == 1 else f"{stem}.{seen[name]}{ending}")
    return told


def _remove_earlier(directory: str) -> None:
    told = files.read_text(f"{directory}/{_LIST}")
    try:
        names = json.loads(told) if told else []
    except ValueError:
        return
    for name in names if isinstance(names, list) else []:
        path = f"{directory}/{os.path.basename(str(name))}"
        if os.path.isfile(path) and not os.path.islink(path):
            os.unlink(path)
