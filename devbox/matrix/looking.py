"""The cells of a project looked at: what they depend on just now, which have to run, and why.

What cells are read from is remembered, so that a run in which nothing changed reads no env file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from devbox.execute import sourcetree
from devbox.frozen import dataclass
from devbox.host.version import reader_id
from devbox.model import ids
from devbox.model.matrix import Cell, CellInputs, CellResult, KnownMatrix
from devbox.opened import Project
from devbox.plan import cellinputs, selection
from devbox.records.matrix import MatrixRecords

if TYPE_CHECKING:
    from devbox.matrix.cells import Sources, Wanted

RUN, CACHED, SKIPPED = "run", "cached", "skipped"
_PASSED = ("passed", "flaky")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a person asked of the matrix. `jobs` 0: by cores and memory.

    `writes`: the reports that are to be written, absolute; directories end with a slash. `proven`: the only cells whose
    earlier result counts, where it is to become evidence; None for all.
    """

    expression: str = ""
    shard: str = ""
    last_failed: bool = False
    everything: bool = False
    jobs: int = 0
    keep: bool = False
    locked: bool = False
    writes: tuple[str, ...] = ()
    against: str = ""  # the id of a release
    proven: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Decided:
    """What happens to one cell: RUN, CACHED or SKIPPED."""

    cell: Cell
    verdict: str
    reason: str
    last: CellResult | None = None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The cells as they are now. `tree`: the files of the project that count; `inputs` of each cell, by its name."""

    known: KnownMatrix
    tree: Mapping[str, str]
    inputs: Mapping[str, CellInputs]


def look(opened: Project, records: MatrixRecords, *, release: str = "") -> Seen | None:
    """The cells, where what they were read from has not changed."""
    known = records.known(reader_id())
    return _seen(opened, records, known) if known and known.release == release else None


def note(opened: Project, records: MatrixRecords, wanted: Iterable[Wanted], sources: Sources) -> Seen:
    """The cells as they were read just now, which is remembered."""
    cells = list(wanted)
    known = KnownMatrix(
        project=cells[0].resolved.instance.name if cells else "",
        cells=tuple(one.cell for one in cells),
        inputs={one.cell.name: _inputs(one) for one in cells},
        patterns=cells[0].tests.counted if cells else (),
        but=tuple(sorted({*sources.own, *_outputs(cells)})),
        release=cells[0].against.release.id if cells and cells[0].against else "",
    )
    if sources.lasting:
        records.remember_known(known, reader_id(), read=sources.files, variables=sources.variables, root=opened.root)
    return _seen(opened, records, known)


def _outputs(wanted: Iterable[Wanted]) -> Iterator[str]:
    """What the tests themselves write: no input, wherever else the same command has run."""
    for one in wanted:
        yield from map(os.path.normpath, (*one.tests.junit, *one.tests.coverage))


def decide(seen: Seen, records: MatrixRecords, asked: Asked) -> list[Decided]:
    """What happens to each cell, in the order of the file."""
    cells = seen.known.cells
    ways = {
        f"-k {asked.expression}": selection.chosen(cells, asked.expression) if asked.expression else None,
        "--last-failed": _failed(cells, records) if asked.last_failed else None,
    }
    left = [cell for cell in cells if all(names is None or cell.name in names for names in ways.values())]
    if asked.shard:
        ways[f"--shard {asked.shard}"] = selection.shard(left, asked.shard)
    everything = asked.everything or asked.keep
    return [_proven(_decided(cell, seen, records, ways, everything=everything), asked) for cell in cells]


def unsettled(opened: Project, records: MatrixRecords, seen: Seen) -> bool:
    """Whether files that count have changed since."""
    return _tree(opened, records, seen.known) != seen.tree


def any_failed(seen: Seen, records: MatrixRecords) -> bool:
    """Whether there is something for `--last-failed`."""
    return bool(_failed(seen.known.cells, records))


def _inputs(one: Wanted) -> CellInputs:
    release = one.against.release if one.against else None
    return cellinputs.inputs(one.resolved, one.tests, release=release)


def _seen(opened: Project, records: MatrixRecords, known: KnownMatrix) -> Seen:
    tree = _tree(opened, records, known)
    digest = ids.key_of(tree)
    inputs = {name: replace(each, files=digest) for name, each in known.inputs.items()}
    return Seen(known=known, tree=tree, inputs=inputs)


def _tree(opened: Project, records: MatrixRecords, known: KnownMatrix) -> dict[str, str]:
    """The files that tests depend on. What devbox itself writes of them is no input."""
    but = (*known.but, *records.written())
    return sourcetree.read(opened.root, known.patterns, but=but, record=records.files)


def _failed(cells: Iterable[Cell], records: MatrixRecords) -> frozenset[str]:
    last = ((cell.name, records.last(cell.name)) for cell in cells)
    return frozenset(name for name, each in last if each and each.result.state not in _PASSED)


def _decided(
    cell: Cell,
    seen: Seen,
    records: MatrixRecords,
    ways: Mapping[str, frozenset[str] | None],
    *,
    everything: bool,
) -> Decided:
    for way, names in ways.items():
        if names is not None and cell.name not in names:
            return Decided(cell=cell, verdict=SKIPPED, reason=f"left out by {way}")
    now, before = seen.inputs[cell.name], records.last(cell.name)
    if before is None:
        return Decided(cell=cell, verdict=RUN, reason=cellinputs.why_run(now, None, None, ()))
    last = before.result
    if now.key == before.inputs.key and last.state == "passed":
        if everything:
            return Decided(cell=cell, verdict=RUN, reason="asked to")
        return Decided(cell=cell, verdict=CACHED, reason=cellinputs.why_cached(last), last=last)
    changed = _changed(seen.tree, records.tree(before.inputs.files)) if now.files != before.inputs.files else ()
    return Decided(cell=cell, verdict=RUN, reason=cellinputs.why_run(now, before.inputs, last, changed))


def _proven(decided: Decided, asked: Asked) -> Decided:
    """Run a cell again whose earlier result is known from files below DEVBOX_HOME alone."""
    if decided.verdict != CACHED or asked.proven is None or decided.cell.name in asked.proven:
        return decided
    return replace(decided, verdict=RUN, reason="no evidence of this host says that it passed", last=None)


def _changed(now: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    """The files that differ; none where it is not known what they were."""
    if not before:
        return []
    return sorted(path for path in now.keys() | before.keys() if now.get(path) != before.get(path))
