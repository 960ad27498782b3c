"""How the cells of a matrix and their run read in a few words: the same in every report."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from devbox.host import durations
from devbox.model.matrix import STATES, CellResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from devbox.model.matrix import MatrixRun

    Failed = Callable[[CellResult], Sequence[str]]  # the names of the tests of a cell that did not pass

MARKS = {
    "passed": "✓",
    "failed": "✗",
    "flaky": "~",
    "error": "!",
    "timeout": "✗",
    "skipped": "·",
    "cached": "✓",
    "interrupted": "!",
}
COLORS = {
    "passed": "green",
    "failed": "red",
    "flaky": "yellow",
    "error": "red",
    "timeout": "red",
    "skipped": "dim",
    "cached": "green",
    "interrupted": "yellow",
}
RED = ("failed", "timeout", "error")  # states that say the tests, or devbox, did not manage
_NAMED = 3  # failed tests
_NEVER_RAN = ("cached", "skipped")


def mark(result: CellResult) -> str:
    """One sign."""
    return MARKS[result.state]


def color(result: CellResult) -> str:
    """The colour of its sign, as `cli.terminal` names them."""
    return "yellow" if is_allowed(result) else COLORS[result.state]


def verdict(result: CellResult) -> str:
    """What came of it: `passed`, `failed, allowed`."""
    return f"{result.state}, allowed" if is_allowed(result) else result.state


def brief(result: CellResult) -> str:
    """What a spot of a grid says: the time of what passed, the word for all else."""
    if result.state == "passed":
        return time(result)
    return verdict(result)


def time(result: CellResult) -> str:
    """How long it took; nothing for what did not run."""
    return "" if result.state in _NEVER_RAN else durations.shown(result.seconds)


def is_allowed(result: CellResult) -> bool:
    """Whether it did not pass and the run succeeds all the same."""
    return result.state in RED and result.cell.allow_failure


def is_bad(result: CellResult) -> bool:
    """Whether the run fails for it."""
    return result.state in (*RED, "interrupted") and not is_allowed(result)


def wants_a_word(result: CellResult) -> bool:
    """Whether a report says why it ended so: it did not pass, or not at once."""
    return result.state in (*RED, "flaky")


def why(result: CellResult, failed: Sequence[str]) -> str:
    """`exit code 1: test_refund, test_order and 3 more`."""
    reason = result.reason or verdict(result)
    if not failed:
        return reason
    more = len(failed) - _NAMED
    return f"{reason}: {', '.join(failed[:_NAMED])}{f' and {more} more' if more > 0 else ''}"


def counts(run: MatrixRun) -> dict[str, int]:
    """How many cells came to what, by the word of `verdict`, the worst last to be read."""
    found = Counter(map(verdict, run.cells))
    order = sorted(found, key=lambda word: (STATES.index(word.partition(",")[0]), word))
    return {word: found[word] for word in order}


def summary(run: MatrixRun) -> str:
    """`12 cells: 9 passed, 2 failed, 1 cached in 41.2 s`."""
    total = f"{len(run.cells)} cell{'' if len(run.cells) == 1 else 's'}"
    parts = ", ".join(f"{count} {word.replace(',', ' but')}" for word, count in counts(run).items())
    return f"{total}: {parts or 'nothing to run'} in {durations.shown(run.seconds)}"
