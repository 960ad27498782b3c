"""Which cells a person means: `-k "python=3.14 and not pg=15"`, a share of them for one of several machines. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from devbox.errors import UsageError
from devbox.model.matrix import Cell

_TOKEN = re.compile(r"\s*(\(|\)|[^\s()]+)")
_OPERATORS = ("and", "or", "not")
_SHARD = re.compile(r"([1-9]\d*)/([1-9]\d*)")

Test = Callable[[Cell], bool]


def chosen(cells: Iterable[Cell], expression: str) -> frozenset[str]:
    """Names of the cells that an expression means: words (`*` matches anything) with and, or, not and parentheses.

    A word is the name of a cell or of an axis, a value, or both as `python=3.14`. UsageError where it can't be
    understood, or one of its words means no cell at all.
    """
    every = tuple(cells)
    parser = _Parser(expression, every)
    return frozenset(cell.name for cell in every if parser.test(cell))


def shard(cells: Iterable[Cell], share: str) -> frozenset[str]:
    """Names of the cells of share `i/n`: every n-th, from the i-th on."""
    match = _SHARD.fullmatch(share)
    if match is None or int(match[1]) > int(match[2]):
        raise UsageError(f"--shard {share}: a shard is written i/n, i from 1 to n", remedy="devbox test --shard 1/2")
    return frozenset(cell.name for cell in list(cells)[int(match[1]) - 1 :: int(match[2])])


class _Parser:
    """One expression: `or` binds least, `not` most."""

    def __init__(self, expression: str, cells: tuple[Cell, ...]) -> None:
        self._expression = expression
        self._cells = cells
        self._tokens = _TOKEN.findall(expression)
        self.test = self._or()
        if self._tokens:
            raise self._wrong(f"{self._tokens[0]!r} is one too many")

    def _or(self) -> Test:
        found = [self._and()]
        while self._next("or"):
            found.append(self._and())
        return lambda cell: any(test(cell) for test in found)

    def _and(self) -> Test:
        found = [self._not()]
        while self._next("and"):
            found.append(self._not())
        return lambda cell: all(test(cell) for test in found)

    def _not(self) -> Test:
        if self._next("not"):
            inner = self._not()
            return lambda cell: not inner(cell)
        if self._next("("):
            inner = self._or()
            if not self._next(")"):
                raise self._wrong("a parenthesis is not closed")
            return inner
        return self._word()

    def _word(self) -> Test:
        if not self._tokens or self._tokens[0] in (*_OPERATORS, ")"):
            raise self._wrong("a word is missing")
        word = self._tokens.pop(0)
        if not any(_means(word, cell) for cell in self._cells):
            names = ", ".join(cell.name for cell in self._cells[:4])
            raise UsageError(f"no cell has {word}", remedy=f"devbox test --list shows them: {names} …")
        return lambda cell: _means(word, cell)

    def _next(self, token: str) -> bool:
        if self._tokens[:1] != [token]:
            return False
        self._tokens.pop(0)
        return True

    def _wrong(self, why: str) -> UsageError:
        return UsageError(
            f"-k {self._expression!r} can't be understood: {why}", remedy='devbox test -k "python=3.14 and not pg=15"'
        )


def _means(word: str, cell: Cell) -> bool:
    pairs = [text for name, value in cell.variables.items() for text in (name, value, f"{name}={value}")]
    return any(fnmatchcase(text, word) for text in (cell.name, *pairs))
