"""A test matrix: its cells, what came of each, and what a running one tells whoever watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from devbox.model import ids
from devbox.model.container import ContainerSpec
from devbox.model.frozen import dataclass

# How a cell ends. `flaky`: green after a retry. `error`: devbox could not run it. `skipped`: it was not begun.
STATES = ("passed", "failed", "flaky", "error", "timeout", "skipped", "cached", "interrupted")
GREEN = ("passed", "flaky", "cached")  # states that a run succeeds with

# Where a cell is, in this order; `waiting` until there is room for it.
PHASES = ("waiting", "prepare", "services", "test", "collect", "done")


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """`[test.matrix]` as written. `exclude`, `include` and `allow_failure` are combinations of axis values.

    What `include` says beside axes are further variables of its cells.
    """

    axes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    include: tuple[dict[str, str], ...] = ()
    exclude: tuple[dict[str, str], ...] = ()
    allow_failure: tuple[dict[str, str], ...] = ()

    @property
    def has_variants(self) -> bool:
        """Whether a cell can be something else than the file without the matrix."""
        return bool(self.axes or self.include)


@dataclass(frozen=True, kw_only=True)
class ReadyCommands:
    """What makes started services ready for tests, as a migration does: run once, its outcome is what cells begin with.

    `inputs` are globs of the project; none: all that the tests depend on.
    """

    commands: tuple[str | tuple[str, ...], ...]
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tests:
    """`[test]`. The command runs in `container`, which stands; `junit` and `coverage` are globs of what it writes.

    `inputs` are globs of what the result depends on; none: all files of the project that git does not ignore.
    """

    __test__ = False  # not a test of pytest's

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
    release_env: dict[str, str] = field(default_factory=dict)  # beside the container's own, against a release
    matrix: Matrix = field(default_factory=Matrix)

    @property
    def input_globs(self) -> tuple[str, ...]:
        """Globs of all that the result depends on; none: all files of the project that git does not ignore."""
        setup = self.container.setup
        return (*self.inputs, *setup.inputs) if self.inputs and setup else self.inputs


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One environment the tests must pass in.

    `name` is "python=3.11,pg=15", "default" where there is no matrix; `axes` what it says, in that order; `variables`
    all that it overrides of `[vars]`: the axes, and what an `include` adds to them.
    """

    name: str
    axes: dict[str, str]
    variables: dict[str, str]
    allow_failure: bool = False


@dataclass(frozen=True, kw_only=True)
class CellInputs:
    """All that a cell's result depends on, as far as it is kept: hashes, and fingerprints of variables.

    `services`: name → hash; `settings` is the hash of how the container runs, `exact` that of everything but `files`,
    values of variables included; `files` the digest of the files of the project that count, "" while not looked at.
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
    """What came of a cell.

    `phases`: phase → seconds. `reason` is a sentence: why it failed, was skipped or is cached, and why it ran. `log`
    is the file with all that the cell printed ("" where it never ran), `reports` the JUnit files its command wrote,
    `coverage` the coverage files: copies on this machine that stay, absolute paths. `image` is the digest of the image
    it ran in, `services` what was beside it: service → its software and versions, and its image digest.
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
    ended_at: str = ""  # RFC 3339 UTC; of what is cached, when it passed
    kept: bool = False  # it still stands

    @property
    def is_green(self) -> bool:
        """Whether the run can succeed with it."""
        return self.state in GREEN or (self.cell.allow_failure and self.state in ("failed", "timeout", "error"))


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """What is known of a cell from the last time it ran."""

    inputs: CellInputs
    result: CellResult


@dataclass(frozen=True, kw_only=True)
class CachedMatrix:
    """The cells of a project and what they depend on, without a look at its files or images.

    `patterns` are the declared inputs, `but` the files of the project that count in other ways: the env file, recipes.
    `release` is the id of what they are tests against.
    """

    project: str
    cells: tuple[Cell, ...]
    inputs: dict[str, CellInputs]  # by the cell's name
    patterns: tuple[str, ...]
    but: tuple[str, ...]
    release: str = ""


@dataclass(frozen=True, kw_only=True)
class MatrixRun:
    """One `devbox test`. `directory` is where its files lie; `jobs` how many cells ran beside each other."""

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
        """0 where every cell is green and at least one was not skipped; 130 where it was interrupted."""
        states = {each.state for each in self.cells}
        if self.interrupted:
            return 130
        if states <= {"skipped"}:
            return 1
        return 0 if all(each.is_green or each.state == "skipped" for each in self.cells) else 1


@dataclass(frozen=True, kw_only=True)
class MatrixStarted:
    """The cells that are about to run or are known already, in the order of the file; none that were left out."""

    cells: tuple[Cell, ...]
    jobs: int
    at: float  # time.monotonic()


@dataclass(frozen=True, kw_only=True)
class CellEvent:
    """A cell came into a phase, or printed a line in it (`line` is not empty)."""

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
