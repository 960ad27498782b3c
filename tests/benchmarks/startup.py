"""Share of Python's own start-up in the run time of the fast commands."""

from __future__ import annotations

import sys

from benchmarks.measure import Contender, Result, command, side_by_side
from benchmarks.project import Bench

_ROUNDS = 20
_EVERY = ("devbox.cli.main", "devbox.commands.table.index", "devbox.cli.parser")

# Each command, and the modules it loads at last.
_COMMANDS = {
    "exec": (("exec", "web", "--", "true"), ("devbox.cli.exec",)),
    "run": (("run", "--service", "web", "--", "true"), ("devbox.cli.exec", "devbox.isolation.oneshot")),
    "up, nothing to do": (("up",), ("devbox.cli.up", "devbox.engines.native.engine")),
}


def startup(bench: Bench) -> list[Result]:
    """The shares of the interpreter alone, and of it with all modules of the command."""
    return [_shares(bench, name, words, modules) for name, (words, modules) in _COMMANDS.items()]


def _shares(bench: Bench, name: str, words: tuple[str, ...], modules: tuple[str, ...]) -> Result:
    result = side_by_side(
        f"share of start-up: {name}",
        [
            Contender("devbox", command([bench.program, *words], cwd=bench.root, env=bench.environment)),
            _python("Python alone", bench, "pass"),
            _python("with our modules", bench, f"import {', '.join((*_EVERY, *modules))}"),
        ],
        rounds=_ROUNDS,
    )
    return Result(result.title, result.rounds, shares=True)


def _python(name: str, bench: Bench, code: str) -> Contender:
    return Contender(name, command([sys.executable, "-c", code], cwd=bench.root, env=bench.environment))
