"""Test matrix: its cells, their results, and events of a running matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from devbox.model import ids
from devbox.model.container import ContainerSpec
from devbox.model.frozen import dataclass

# Final state of a cell. `flaky`: passed after a retry. `error`: devbox could not run it. `skipped`: not started.
STATES = ("passed", "failed", "flaky", "error", "timeout", "skipped", "cached", "interrupted")
GREEN = ("passed", "flaky", "cached")  # states with which a run succeeds


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """`[test.matrix]` as written. `exclude`, `include` and `allow_failure` are combinations of axis values.

    Other keys in `include` are additional variables of its cells.
    """

    axes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    include: tuple[dict[str, str], ...] = ()
    exclude: tuple[dict[str, str], ...] = ()
    allow_failure: tuple[dict[str, str], ...] = ()

    @property
    def has_variants(self) -> bool:
        """Whether a cell may differ from the file without the matrix."""
        return bool(self.axes or self.include)


@dataclass(frozen=True, kw_only=True)
class ReadyCommands:
    """Commands that prepare started services for tests, such as a migration: run once, with a shared result.

    `inputs` are globs of the project; none: everything that the tests depend on.
    """

    commands: tuple[str | tuple[str, ...], ...]
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tests:
    """`[test]`. The command runs in the running `container`; `junit` and `coverage` are globs of its output files.

    `inputs` are globs of files that the result depends on; none: all files of the project that git does not ignore.
    """

    __test__ = False  # not a test class for pytest

    container: ContainerSpec
    command: tuple[str, ...]
    junit: tuple[str, ...] = ()
    coverage: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    timeout: float | None = None
    retries: int = 0
    fail_fast: bool = False
    ready: ReadyCommands | None = None
    release: str = "inside"  # "inside" | "client"
    release_env: dict[str, str] = field(default_factory=dict)  # added to the container's own, against a release
    matrix: Matrix = field(default_factory=Matrix)

    @property
    def input_globs(self) -> tuple[str, ...]:
        """Globs of everything that the result depends on; none: all files of the project that git does not ignore."""
        setup = self.container.setup
        return (*self.inputs, *setup.inputs) if self.inputs and setup else self.inputs


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One environment in which the tests must pass.

    `name` is "python=3.11,pg=15", "default" without a matrix; `axes` are its axis values, in order; `variables` are all
    overrides of `[vars]`: the axes, and additions by an `include`.
    """

    name: str
    axes: dict[str, str]
    variables: dict[str, str]
    allow_failure: bool = False


@dataclass(frozen=True, kw_only=True)
class CellInputs:
    """All inputs of a cell's result: hashes, and fingerprints of variables.

    `services`: name → hash; `settings` is the hash of the container's settings, `exact` that of everything except
    `files`, including values of variables; `files` the digest of the relevant project files, "" until computed.
    """

    image: str
    services: dict[str, str]
    command: str
    environment: dict[str, str]
    settings: str
    ready: str
    exact: str
    files: str = ""

    @property
    def key(self) -> str:
        """The identity of the result."""
        return ids.compute_key({"exact": self.exact, "files": self.files})


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """The result of a cell.

    `phases`: phase → seconds. `reason` is a sentence: why it failed, was skipped or is cached, and why it ran. `log` is
    the file with its output ("" if it never ran), `reports` the JUnit files of its command, `coverage` the coverage
    files: permanent copies on the host, absolute paths. `image` is the digest of its image, `services` the other
    containers: service → software, versions and image digest.
    """

    cell: Cell
    state: str
    seconds: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    reason: str = ""
    attempts: int = 0
    exit_code: int | None = None
    log: str = ""
    reports: tuple[str, ...] = ()
    coverage: tuple[str, ...] = ()
    image: str = ""
    services: dict[str, str] = field(default_factory=dict)
    ended_at: str = ""  # RFC 3339 UTC; if cached, when it passed
    kept: bool = False  # its containers still exist

    @property
    def is_green(self) -> bool:
        """Whether the run can succeed with this result."""
        return self.state in GREEN or (self.cell.allow_failure and self.state in ("failed", "timeout", "error"))


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """The stored inputs and result of a cell's last run."""

    inputs: CellInputs
    result: CellResult


@dataclass(frozen=True, kw_only=True)
class CachedMatrix:
    """The cells of a project and their inputs, known without reading its files or images.

    `patterns` are the declared inputs, `but` project files that count in other ways: the env file, recipes. `release`
    is the id of the release under test.
    """

    project: str
    cells: tuple[Cell, ...]
    inputs: dict[str, CellInputs]  # by the cell's name
    patterns: tuple[str, ...]
    but: tuple[str, ...]
    release: str = ""


@dataclass(frozen=True, kw_only=True)
class MatrixRun:
    """One `devbox test` run. `directory` contains its files; `jobs` is the number of parallel cells."""

    id: str
    project: str
    cells: tuple[CellResult, ...]
    started_at: str  # RFC 3339 UTC
    seconds: float
    directory: str
    jobs: int = 1
    release: str = ""  # the digest of the image under test, with --against
    interrupted: bool = False  # by Ctrl-C or a signal

    @property
    def exit_code(self) -> int:
        """0 if all cells are green or skipped, but not all skipped; 130 if interrupted; 1 otherwise."""
        states = {each.state for each in self.cells}
        if self.interrupted:
            return 130
        if states <= {"skipped"}:
            return 1
        return 0 if all(each.is_green or each.state == "skipped" for each in self.cells) else 1


@dataclass(frozen=True, kw_only=True)
class MatrixStarted:
    """The cells to run and the known ones, in the order of the file, without excluded ones."""

    cells: tuple[Cell, ...]
    jobs: int
    at: float  # time.monotonic()


@dataclass(frozen=True, kw_only=True)
class CellEvent:
    """A cell entered a phase, or printed a line in it (`line` is not empty)."""

    cell: str
    phase: str
    line: str = ""
    at: float = 0.0  # time.monotonic()


@dataclass(frozen=True, kw_only=True)
class CellDone:
    """A cell ended."""

    result: CellResult
    at: float = 0.0  # time.monotonic()


MatrixEvent = MatrixStarted | CellEvent | CellDone
MatrixSink = Callable[[MatrixEvent], None]
