"""Cells to run: their current inputs, the decision about each, and the reason.

The inputs of cells are cached, so that an unchanged run reads no env file.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass as mutable_dataclass
from dataclasses import field, replace

from devbox.host import revision
from devbox.host.safe_files import ProjectDirectory
from devbox.host.version import compute_reader_id
from devbox.images.build import inputs
from devbox.images.build.inputs import translate_glob
from devbox.model import ids
from devbox.model.frozen import dataclass
from devbox.model.matrix import CachedMatrix, Cell, CellDone, CellInputs, CellResult, MatrixSink, MatrixStarted
from devbox.plan import matrix
from devbox.project import Project
from devbox.records import spec_cache
from devbox.records.tests import MatrixRecords

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.matrix.cells import DesiredCell, Sources

_GIT = ".git"
_GLOB = frozenset("*?[")
RUN, CACHED, SKIPPED = "run", "cached", "skipped"
_PASSED = ("passed", "flaky")


@dataclass(frozen=True, kw_only=True)
class MatrixRequest:
    """Test request of the user. `jobs` 0: by cores and memory.

    `writes`: absolute paths of the reports to write; directories end with a slash. `proven`: if results become
    evidence, the only cells whose earlier result counts; None for all.
    """

    expression: str = ""
    shard: str = ""
    last_failed: bool = False
    everything: bool = False
    jobs: int = 0
    keep: bool = False
    locked: bool = False
    writes: tuple[str, ...] = ()
    against: str = ""  # ID of a release
    proven: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True)
class CellDecision:
    """Decision about one cell: RUN, CACHED or SKIPPED."""

    cell: Cell
    verdict: str
    reason: str
    last: CellResult | None = None


@dataclass(frozen=True, kw_only=True)
class MatrixObservation:
    """Current cells. `tree`: relevant project files; `inputs` by cell name."""

    known: CachedMatrix
    tree: Mapping[str, str]
    inputs: Mapping[str, CellInputs]


def read_known(project: Project, records: MatrixRecords, *, release: str = "") -> MatrixObservation | None:
    """Return the cells from the cache, or None if their sources changed."""
    known = records.read_cached_matrix(compute_reader_id())
    return _observe(project, records, known) if known and known.release == release else None


def record_cells(
    project: Project, records: MatrixRecords, desired: Iterable[DesiredCell], sources: Sources
) -> MatrixObservation:
    """Return the cells as just read, and cache them."""
    cells = list(desired)
    known = CachedMatrix(
        project=cells[0].resolved.instance.name if cells else "",
        cells=tuple(one.cell for one in cells),
        inputs={one.cell.name: _compute_inputs(one) for one in cells},
        patterns=cells[0].tests.input_globs if cells else (),
        but=tuple(sorted({*sources.own, *_list_outputs(cells)})),
        release=cells[0].against.release.id if cells and cells[0].against else "",
    )
    if sources.lasting:
        records.write_cached_matrix(
            known, compute_reader_id(), read=sources.files, variables=sources.variables, root=project.root
        )
    return _observe(project, records, known)


def _list_outputs(desired: Iterable[DesiredCell]) -> Iterator[str]:
    """Yield the tests' own outputs, which are not inputs."""
    for one in desired:
        yield from map(os.path.normpath, (*one.tests.junit, *one.tests.coverage))


def decide(seen: MatrixObservation, records: MatrixRecords, request: MatrixRequest) -> list[CellDecision]:
    """Decide about each cell, in file order."""
    cells = seen.known.cells
    filters = {
        f"-k {request.expression}": matrix.select_cells(cells, request.expression) if request.expression else None,
        "--last-failed": _find_failed(cells, records) if request.last_failed else None,
    }
    left = [cell for cell in cells if all(names is None or cell.name in names for names in filters.values())]
    if request.shard:
        filters[f"--shard {request.shard}"] = matrix.select_shard(left, request.shard)
    everything = request.everything or request.keep
    return [
        _require_evidence(_decide_cell(cell, seen, records, filters, everything=everything), request) for cell in cells
    ]


def has_changed(project: Project, records: MatrixRecords, seen: MatrixObservation) -> bool:
    """True if relevant files have changed since."""
    return _read_tree(project, records, seen.known) != seen.tree


def has_failed(seen: MatrixObservation, records: MatrixRecords) -> bool:
    """True if `--last-failed` selects any cell."""
    return bool(_find_failed(seen.known.cells, records))


def _compute_inputs(one: DesiredCell) -> CellInputs:
    release = one.against.release if one.against else None
    return matrix.compute_inputs(one.resolved, one.tests, release=release)


def _observe(project: Project, records: MatrixRecords, known: CachedMatrix) -> MatrixObservation:
    tree = _read_tree(project, records, known)
    digest = ids.compute_key(tree)
    inputs = {name: replace(each, files=digest) for name, each in known.inputs.items()}
    return MatrixObservation(known=known, tree=tree, inputs=inputs)


def _read_tree(project: Project, records: MatrixRecords, known: CachedMatrix) -> dict[str, str]:
    """Return the tests' input files, without files written by devbox."""
    but = (*known.but, *records.read_written())
    return read_source_files(project.root, known.patterns, but=but, record=records.files)


def _find_failed(cells: Iterable[Cell], records: MatrixRecords) -> frozenset[str]:
    last = ((cell.name, records.read_last(cell.name)) for cell in cells)
    return frozenset(name for name, each in last if each and each.result.state not in _PASSED)


def _decide_cell(
    cell: Cell,
    seen: MatrixObservation,
    records: MatrixRecords,
    filters: Mapping[str, frozenset[str] | None],
    *,
    everything: bool,
) -> CellDecision:
    for way, names in filters.items():
        if names is not None and cell.name not in names:
            return CellDecision(cell=cell, verdict=SKIPPED, reason=f"not selected by {way}")
    now, before = seen.inputs[cell.name], records.read_last(cell.name)
    if before is None:
        return CellDecision(cell=cell, verdict=RUN, reason=matrix.why_run(now, None, None, ()))
    last = before.result
    if now.key == before.inputs.key and last.state == "passed":
        if everything:
            return CellDecision(cell=cell, verdict=RUN, reason="requested")
        return CellDecision(cell=cell, verdict=CACHED, reason=matrix.why_cached(last), last=last)
    changed = (
        _list_changed(seen.tree, records.read_tree(before.inputs.files)) if now.files != before.inputs.files else ()
    )
    return CellDecision(cell=cell, verdict=RUN, reason=matrix.why_run(now, before.inputs, last, changed))


def _require_evidence(decided: CellDecision, request: MatrixRequest) -> CellDecision:
    """Rerun a cell whose result is only known from files below DEVBOX_HOME."""
    if decided.verdict != CACHED or request.proven is None or decided.cell.name in request.proven:
        return decided
    return replace(decided, verdict=RUN, reason="no evidence of this host that the cell passed", last=None)


def _list_changed(now: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    """Return the files that differ; empty if the earlier state is unknown."""
    if not before:
        return []
    return sorted(path for path in now.keys() | before.keys() if now.get(path) != before.get(path))


NONE_MISSING: Mapping[str, str] = {}


@mutable_dataclass
class Session:
    """One session. `results` has skipped, failed and completed cells."""

    seen: MatrixObservation
    decided: list[CellDecision]
    jobs: int = 0
    interrupted: bool = False
    results: dict[str, CellResult] = field(default_factory=dict)

    def report_cells(self, board: MatrixSink, missing: Mapping[str, str] = NONE_MISSING) -> None:
        """Report the selected cells and those that do not start.

        `missing`: cells without an image, with the reason. Deselected cells are only in the results.
        """
        now = time.monotonic()
        selected = tuple(each.cell for each in self.decided if each.verdict != SKIPPED)
        board(MatrixStarted(cells=selected, jobs=self.jobs, at=now))
        for each in self.decided:
            result = _build_skipped_result(each, missing)
            if result is not None:
                self.results[each.cell.name] = result
                if each.verdict != SKIPPED:
                    board(CellDone(result=result, at=now))


def _build_skipped_result(decided: CellDecision, missing: Mapping[str, str]) -> CellResult | None:
    """Return the result of a cell that does not run. Reports of a cached one still exist."""
    cell, last = decided.cell, decided.last
    if decided.verdict == RUN:
        return CellResult(cell=cell, state="error", reason=missing[cell.name]) if cell.name in missing else None
    if last is None:
        return CellResult(cell=cell, state=decided.verdict, reason=decided.reason)
    return CellResult(
        cell=cell,
        state=decided.verdict,
        reason=decided.reason,
        exit_code=last.exit_code,
        log=last.log,
        reports=last.reports,
        coverage=last.coverage,
        image=last.image,
        services=last.services,
        ended_at=last.ended_at,
    )


def read_source_files(root: str, patterns: tuple[str, ...], *, but: Iterable[str], record: str) -> dict[str, str]:
    """Map each path to `link:TARGET`, `file:DIGEST` or `program:DIGEST`. `record`: see `records.spec_cache`.

    Without patterns, all files that git does not ignore; without git, all files. `but` excludes paths, patterns, and
    everything below paths that end with a slash.
    """
    names = _exclude(_list_names(root, patterns), but)
    with ProjectDirectory(root) as project:
        facts = {path: found for path in names if (found := _stat(project, path))}
        known = spec_cache.compute_digests(
            root, [path for path, each in facts.items() if _is_file(each)], record=record
        )
        return {path: _digest_content(project, path, each, known) for path, each in facts.items()}


def _list_names(root: str, patterns: tuple[str, ...]) -> list[str]:
    if patterns:
        return sorted(inputs.find_named(root, patterns))
    listed = revision.list_files(root)
    if listed is None:
        found = inputs.find_named(root, ["."])
        return sorted(path for path in found if path.partition("/")[0] != _GIT)
    with ProjectDirectory(root) as project:
        kinds = {path.rstrip("/"): facts for path in listed if (facts := _stat(project, path.rstrip("/")))}
    directories = [path for path, each in kinds.items() if stat.S_ISDIR(each.st_mode)]
    within = {
        name for name in inputs.find_named(root, directories) if f"/{_GIT}/" not in name
    }  # of nested repositories
    return sorted({*kinds, *within} - {*directories})


def _exclude(names: Iterable[str], but: Iterable[str]) -> list[str]:
    excluded = {*but}
    below = tuple(path for path in excluded if path.endswith("/"))
    globs = [re.compile(translate_glob(path), re.DOTALL) for path in excluded if not _GLOB.isdisjoint(path)]
    return [
        name
        for name in names
        if name not in excluded and not name.startswith(below) and not any(glob.fullmatch(name) for glob in globs)
    ]


def _is_file(facts: os.stat_result) -> bool:
    return stat.S_ISREG(facts.st_mode)


def _stat(project: ProjectDirectory, path: str) -> os.stat_result | None:
    """Stat a path without following links; None if it no longer exists."""
    try:
        return project.stat(path, links=False)
    except OSError:
        return None


def _digest_content(project: ProjectDirectory, path: str, facts: os.stat_result, known: dict[str, str]) -> str:
    if not _is_file(facts):
        with contextlib.suppress(OSError):  # a link replaced after the stat
            return f"link:{project.readlink(path)}" if stat.S_ISLNK(facts.st_mode) else "special"
        return "special"
    digest = known.get(path, f"unreadable:{facts.st_size}:{facts.st_mtime_ns}")
    return f"{'program' if facts.st_mode & stat.S_IXUSR else 'file'}:{digest}"
