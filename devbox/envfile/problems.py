"""What is wrong with an env file, as sentences with `file:line`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from devbox.errors import EnvFileError, one_line
from devbox.frozen import dataclass
from devbox.roles.context import Key

SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong: the key it stands at, a sentence, and what to do (may be empty)."""

    key: Key
    sentence: str
    remedy: str = ""


def label(key: Key) -> str:
    """A key for a person: `[service.db] ports`."""
    names = [part for part in key if isinstance(part, str)]
    depth = 2 if names and names[0] in ("base", "tool", "service", "glue", "install", "stage") else 1
    if names[:2] == ["image", "process"]:
        depth = 3
    if names[:1] in (["stages"], []):
        return ".".join(names) or "the file"
    head = f"[{'.'.join(names[:depth])}]"
    rest = ".".join(names[depth:])
    return f"{head} {rest}" if rest else head


def raise_first(problems: Sequence[Problem], where: Callable[[Key], str]) -> None:
    """Raise one EnvFileError for all problems, in the order of the file, the first few told; none: return."""
    if not problems:
        return
    first, *others = sorted(_unique(problems), key=lambda problem: _place(where(problem.key)))
    lines = [one_line(f"{where(problem.key)}: {problem.sentence}") for problem in others[: SHOWN - 1]]
    if len(others) >= SHOWN:
        lines.append(f"and {len(others) - SHOWN + 1} more")
    raise EnvFileError(first.sentence, where=where(first.key), details="\n".join(lines), remedy=first.remedy)


def _unique(problems: Iterable[Problem]) -> list[Problem]:
    return list({(problem.key, problem.sentence): problem for problem in problems}.values())


def _place(where: str) -> tuple[str, int]:
    file, _, line = where.rpartition(":")
    return (file, int(line)) if line.isdigit() else (where, 0)
