"""Generator of docs/reference/docker-differences.md: what was compared, what differs and why, case by case."""

# ruff: noqa: E501 - text of a page
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from comparison.compare import Expected
from comparison.expected import EXPECTED, NOT_COMPARED
from comparison.session import Result

PAGE = Path(__file__).parents[2] / "docs/reference/docker-differences.md"
_HEAD = """\
# Differences to Docker

{images} images and {dockerfiles} Dockerfiles, compared in one run with Docker 26 (BuildKit): the file tree that a running
container sees (kinds, modes, owners, targets of links, contents, extended attributes, hard links; times for images), its
process (arguments, variables, directory, user, groups, umask), the image's config, and how its program is stopped. The page
is written by `sudo make compare`, which runs `python -m comparison --write`; the cases are in `tests/comparison`.

{same} of {total} are equal. Every difference is explained here.

| difference | visible in the container | why | cases |
|---|---|---|---|
"""
_BEYOND = """
## Not compared

| what | in devbox |
|---|---|
"""


def write(results: Sequence[Result]) -> None:
    """Write the page."""
    PAGE.write_text(page(results))


def page(results: Sequence[Result]) -> str:
    """The page of a whole run. Pure."""
    images = sum(result.kind == "image" for result in results)
    same = sum(not result.differences for result in results)
    counts = {"images": images, "dockerfiles": len(results) - images, "same": same, "total": len(results)}
    return "".join([_HEAD.format(**counts), *_reasons(results), _BEYOND, *_rows(NOT_COMPARED), *_cases(results)])


def _reasons(results: Iterable[Result]) -> Iterable[str]:
    for each in EXPECTED:
        cases = [result.name for result in results if any(re.match(each.pattern, line) for line in result.differences)]
        if cases:
            seen = "yes" if each.visible else "no"
            yield f"| {each.name} | {seen} | {each.why} | {', '.join(_cell(name) for name in cases)} |\n"


def _cases(results: Sequence[Result]) -> Iterable[str]:
    for kind, title in (("image", "Images"), ("Dockerfile", "Dockerfiles")):
        yield f"\n## {title}\n\n| case | Docker | devbox |\n|---|---|---|\n"
        chosen = (result for result in results if result.kind == kind)
        yield from _rows((_cell(each.name), "runs" if each.runs else "refuses", _verdict(each)) for each in chosen)


def _verdict(result: Result) -> str:
    names = [each.name for each in EXPECTED if any(re.match(each.pattern, line) for line in result.differences)]
    return ", ".join(names) or ("equal" if not result.differences else "differs")


def _rows(rows: Iterable[Sequence[str]]) -> Iterable[str]:
    return (f"| {' | '.join(row)} |\n" for row in rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("$", "\\$")


def unused(results: Sequence[Result]) -> list[Expected]:
    """The reasons that no case needs any more."""
    lines = [line for result in results for line in result.differences]
    return [each for each in EXPECTED if not any(re.match(each.pattern, line) for line in lines)]
