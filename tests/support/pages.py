"""The blocks of the documents: extraction, and the session that runs those of one page.

A page is one session of bash in a fresh project directory, with `set -e`; its directory and variables persist between
blocks. `sh` blocks are run; of `console` blocks, the lines that start with `$ ` are run (`> ` continues them) and the
other lines are compared with the output: see `compile_line`. `toml` blocks are checked as fragments of devbox.toml: see
`support.fragments`. Directives are comments on the lines directly before a fence, which readers do not see:

    <!-- test: no: REASON -->          not run
    <!-- test: background -->          runs until the page ends
    <!-- test: exit: 3 -->             expected exit code; in a console block, of any command
    <!-- test: output: no -->          the output of a console block is not compared
    <!-- test: file: NAME -->          written to this file
    <!-- test: json -->                keys and types are those of the last line of the previous block's output
    <!-- test: append: NAME -->        appended to this file
    <!-- test: in: dev -->             the keys belong to this table of devbox.toml
    <!-- test: each-line-in: dev -->   the same for alternatives: each line is checked alone

`<!-- test: setup`, lines of shell, and `-->` are a hidden `sh` block. Anywhere on the page, `<!-- test: page: long -->`
runs it only in `make test-all`, `page: own-home` gives it a DEVBOX_HOME without images, and `page: needs: PROGRAM`
requires a program of the host.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.machine import REPOSITORY

DIRECTIVES = ("no", "background", "exit", "output", "file", "append", "in", "each-line-in", "json")
PAGE_DIRECTIVES = ("long", "own-home", "needs")
LANGUAGES = ("sh", "console", "toml", "json")
_FENCE = re.compile(r"(?P<indent> *)(?P<mark>`{3,})(?P<language>\w*)\s*")
_DIRECTIVE = re.compile(r"\s*<!-- test: (?P<name>[\w-]+)(?:: (?P<value>.+?))? -->\s*")
_SETUP = "<!-- test: setup"


def list_pages() -> list[Path]:
    """Return every page for users. Decisions and the changelog describe the past; their blocks are not run."""
    pages = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    return sorted(page for page in pages if "adr" not in page.parts and page.name != "CHANGELOG.md")


def name_page(page: Path) -> str:
    """Return the path of a page in the repository."""
    return str(page.relative_to(REPOSITORY))


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block of a page. `line` is that of its fence, `text` ends with a newline."""

    line: int
    language: str
    text: str
    directives: dict[str, str]

    @property
    def is_run(self) -> bool:
        """True if the session of the page executes or writes the block."""
        if "no" in self.directives:
            return False
        return self.language in ("sh", "console") or self.file is not None or "json" in self.directives

    @property
    def file(self) -> str | None:
        """The file to which the block is written."""
        return self.directives.get("file") or self.directives.get("append")

    @property
    def exit(self) -> int:
        """The expected exit code."""
        return int(self.directives.get("exit", "0"))


@dataclass(frozen=True, kw_only=True)
class Page:
    """The blocks of a page in order, and its own directives."""

    path: Path
    blocks: tuple[Block, ...]
    directives: dict[str, list[str]] = field(default_factory=dict)

    @property
    def has_session(self) -> bool:
        """True if the page has a block to execute; files alone are only checked."""
        return any(block.is_run and block.language in ("sh", "console") for block in self.blocks)

    @property
    def is_long(self) -> bool:
        """True if the page runs only in `make test-all`."""
        return "long" in self.directives


class InvalidPageError(Exception):
    """A block or directive that cannot be interpreted."""


def read(page: Path) -> Page:
    """Read the blocks of a page."""
    blocks: list[Block] = []
    own: dict[str, list[str]] = {}
    pending: dict[str, str] = {}
    lines = enumerate(page.read_text().splitlines(), start=1)
    for number, line in lines:
        if line.strip() == _SETUP:
            indent = len(line) - len(line.lstrip())
            text = _read_until(lines, f"{' ' * indent}-->", number, page, indent=indent)
            blocks.append(Block(line=number, language="sh", text=text, directives={}))
        elif directive := _DIRECTIVE.fullmatch(line):
            _add_directive(directive["name"], directive["value"] or "", pending, own, f"{page}:{number}")
            continue
        elif fence := _FENCE.fullmatch(line):
            text = _read_until(lines, fence["indent"] + fence["mark"], number, page, indent=len(fence["indent"]))
            blocks.append(Block(line=number, language=fence["language"], text=text, directives=pending))
            pending = {}
        if pending:
            raise InvalidPageError(f"{page}:{number}: a directive must be directly before its block")
    return Page(path=page, blocks=tuple(blocks), directives=own)


def _add_directive(name: str, value: str, pending: dict[str, str], own: dict[str, list[str]], where: str) -> None:
    if name == "page":
        name, _, value = value.partition(": ")
        if name not in PAGE_DIRECTIVES:
            raise InvalidPageError(f"{where}: unknown directive page: {name}")
        own.setdefault(name, []).append(value)
        return
    if name not in DIRECTIVES:
        raise InvalidPageError(f"{where}: unknown directive {name}")
    if not value and name not in ("background", "json"):
        raise InvalidPageError(f"{where}: the directive {name} requires a value")
    pending[name] = value


def _read_until(lines: Iterator[tuple[int, str]], end: str, start: int, page: Path, *, indent: int = 0) -> str:
    found: list[str] = []
    for _, line in lines:
        if line.rstrip() == end:
            return "".join(f"{each}\n" for each in found)
        found.append(line[indent:] if not line[:indent].strip() else line)
    raise InvalidPageError(f"{page}:{start}: the block has no end")


def split_console(block: Block) -> list[tuple[str, list[str]]]:
    """Return the commands of a console block, each with its documented output."""
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif not found:
            raise InvalidPageError(f"line {block.line}: a console block must begin with a command")
        elif (line == ">" or line.startswith("> ")) and not found[-1][1]:
            found[-1] = (f"{found[-1][0]}\n{line[2:]}", [])
        else:
            found[-1][1].append(line)
    return found


# What an image requires depends on what the session has baked before.
_OPTIONAL = re.compile(r"(✓ )?(bake|pull|replace) .*")
_TAKEN_PORT = re.compile(r"\d+ → (?=http)")  # another port on the host
_PARTS = {
    "any": (r"…", r".*"),
    "path": (r"/tmp/[^\s:]+", r"\S+"),
    "time": (r"\d{4}-\d\d-\d\dT\d\d:\d\d[\d:.]*Z?", r"\d{4}-\d\d-\d\dT\d\d:\d\d[\d:.]*Z?"),
    "size": (r"\d[\d.]* (?:[kMG]i?)?B\b", r"\d[\d.]* (?:[kMG]i?)?B"),
    "duration": (r"\d[\d.]* (?:ms|s|min|h)\b(?: \d+ (?:s|min)\b)?", r"\d[\d.]* (?:ms|s|min|h)(?: \d+ (?:s|min))?"),
    "hash": (r"\b(?=[0-9a-f]*\d)[0-9a-f]{7,64}\b", r"[0-9a-f]+"),
    "number": (r"\d+(?:\.\d+)*", r"\d+(?:\.\d+)*"),
    "space": (r"\s+", r"\s+"),
}
_VARYING = re.compile("|".join(f"(?P<{name}>{part})" for name, (part, _) in _PARTS.items()))


def compile_line(line: str) -> re.Pattern[str]:
    """Return a pattern for a documented line.

    Numbers, digests, times, durations, sizes, columns and paths below /tmp may differ; `…` stands for anything.
    """
    found, at = "", 0
    for match in _VARYING.finditer(line.strip()):
        assert match.lastgroup is not None
        found += re.escape(line.strip()[at : match.start()]) + _PARTS[match.lastgroup][1]
        at = match.end()
    return re.compile(found + re.escape(line.strip()[at:]))


def find_missing(documented: list[str], output: str) -> list[str]:
    """Return the documented lines that the output does not have, in any order."""
    printed = [_TAKEN_PORT.sub("", line).strip() for line in output.splitlines()]
    required = [line for line in documented if line.strip() and not _OPTIONAL.fullmatch(line.strip())]
    return [line for line in required if not any(compile_line(line).fullmatch(each) for each in printed)]


def compare_shapes(documented: Any, found: Any, at: str) -> str:
    """Return the first difference of keys and types; "" if there is none. Lists are compared by their first items."""
    if isinstance(documented, dict) and isinstance(found, dict):
        if any("/" in key for key in (*documented, *found)):  # keys are data: compare the values only
            return compare_shapes([*documented.values()], [*found.values()], f"{at}.*")
        if documented.keys() != found.keys():
            return f"{at}: documented keys {sorted(documented)}, found {sorted(found)}"
        differences = (compare_shapes(documented[key], found[key], f"{at}.{key}") for key in documented)
        return next(filter(None, differences), "")
    if isinstance(documented, list) and isinstance(found, list):
        return compare_shapes(documented[0], found[0], f"{at}[0]") if documented and found else ""
    is_number = isinstance(documented, int | float) and isinstance(found, int | float)
    if None in (documented, found) or is_number or type(documented) is type(found):
        return ""
    return f"{at}: documented {documented!r}, found {found!r}"
