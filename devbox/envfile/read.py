"""TOML reader with line numbers."""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import tomllib
from typing import Any

from devbox.errors import EnvFileError
from devbox.host import safe_files
from devbox.model.frozen import dataclass
from devbox.roles.role import Key

Lines = dict[Key, int]

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+|\#[^\n]*)
      | (?P<newline>\n)
      | (?P<multi>\"\"\"(?:[^"\\]|\\.|"(?!""))*"{3,5}|'''(?:[^']|'(?!''))*'{3,5})
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'[^'\n]*')
      | (?P<mark>[\[\]{}=,.])
      | (?P<bare>[^\s\[\]{}=,.\#"']+)""",
    re.VERBOSE | re.DOTALL,
)


def index(text: str) -> Lines:
    """Map key paths to lines, counted from 1. List items have their index as the last part of the path.

    A table mentioned only by its children has the line of the first child.
    """
    return _TomlScanner(text).scan()


class _TomlScanner:
    """Scanner that tracks the current key in one pass over the tokens."""

    def __init__(self, text: str) -> None:
        self.lines: Lines = {}
        self._line = 1
        self._tokens = _TOKEN.finditer(text)
        self._kind = self._text = ""
        self._arrays: dict[Key, int] = {}
        self._advance()

    def scan(self) -> Lines:
        """Scan all statements: headers and keys."""
        table: Key = ()
        while self._kind:
            if self._kind == "newline":
                self._advance()
            elif self._text == "[":
                table = self._scan_header()
            else:
                self._scan_assignment(table)
        return self.lines

    def _advance(self) -> None:
        """Advance to the next token other than space; count lines."""
        self._line += self._text.count("\n")
        for match in self._tokens:
            if match.lastgroup != "space":
                self._kind, self._text = match.lastgroup or "", match.group()
                return
        self._kind = self._text = ""

    def _scan_header(self) -> Key:
        self._advance()
        is_array = self._text == "["
        if is_array:
            self._advance()
        line = self._line
        key = self._scan_key()
        while self._kind and self._kind != "newline":
            self._advance()
        path = self._add_item_numbers(key, including_itself=not is_array)
        if is_array:
            number = self._arrays[path] = self._arrays.get(path, -1) + 1
            self._record(path, line)
            path = (*path, number)
        self._record(path, line)
        return path

    def _add_item_numbers(self, key: Key, *, including_itself: bool) -> Key:
        """Return a header's path with the index of the current item after each array of tables."""
        path: Key = ()
        for depth, part in enumerate(key):
            path = (*path, part)
            if path in self._arrays and (including_itself or depth < len(key) - 1):
                path = (*path, self._arrays[path])
        return path

    def _scan_assignment(self, table: Key) -> None:
        line = self._line
        path = (*table, *self._scan_key())
        self._record(path, line)
        self._advance()  # the equals sign
        self._scan_value(path)

    def _scan_key(self) -> Key:
        """Scan a dotted key."""
        parts: list[str] = []
        while self._kind in ("bare", "string") or self._text == ".":
            if self._text != ".":
                parts.append(_unquote(self._text))
            self._advance()
        return tuple(parts)

    def _scan_value(self, path: Key) -> None:
        if self._text == "[":
            self._scan_list(path)
        elif self._text == "{":
            self._scan_inline_table(path)
        else:
            while self._kind and self._kind != "newline" and self._text not in (",", "]", "}"):
                self._advance()

    def _scan_list(self, path: Key) -> None:
        self._advance()
        number = 0
        while self._kind and self._text != "]":
            if self._kind == "newline" or self._text == ",":
                self._advance()
                continue
            self._record((*path, number), self._line)
            self._scan_value((*path, number))
            number += 1
        self._advance()

    def _scan_inline_table(self, path: Key) -> None:
        self._advance()
        while self._kind and self._text != "}":
            if self._kind == "newline" or self._text == ",":
                self._advance()
            else:
                self._scan_assignment(path)
        self._advance()

    def _record(self, path: Key, line: int) -> None:
        """Record a path, and its parent tables without a line."""
        for depth in range(1, len(path)):
            self.lines.setdefault(path[:depth], line)
        self.lines.setdefault(path, line)


def _unquote(text: str) -> str:
    """Unquote a key. Escapes are resolved by tomllib."""
    if text.startswith('"') and "\\" in text:
        return next(iter(tomllib.loads(f"{text} = 0")))
    return text[1:-1] if text[:1] in "\"'" else text


LIMIT = 4 * 1024 * 1024
DEEPEST = 64  # nesting depth of tables and lists; an env file needs about six

# File names of other tools.
_FOREIGN = (
    ("*compose*.y*ml", "a Compose file"),
    ("*devcontainer.json", "a Dev Container file"),
    ("devbox.json", "a file of jetify's devbox"),
    ("*.y*ml", "a YAML file"),
    ("*.json", "a JSON file"),
    ("*.ini", "an INI file"),
    ("dockerfile*", "a Dockerfile"),
)
_POSITION = re.compile(r"\s*\(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")


@dataclass(frozen=True, kw_only=True)
class TomlFile:
    """A parsed TOML file. `name` is used in messages."""

    name: str
    data: dict[str, Any]
    lines: Lines


def read(path: str, *, name: str, within: str = "", may_be_empty: bool = False) -> TomlFile:
    """Read a TOML file; every error is an EnvFileError."""
    _refuse_foreign_format(name)
    text = read_text(path, name=name, within=within)
    if not text.strip() and not may_be_empty:
        raise EnvFileError("the file is empty", where=f"{name}:1", remedy='write at least [dev] and recipe = "debian"')
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _build_syntax_error(str(error), text, name) from None
    except RecursionError:
        raise _build_depth_error(name) from None
    if _is_deep(data):
        raise _build_depth_error(name)
    return TomlFile(name=name, data=data, lines=index(text))


def read_text(path: str, *, name: str, within: str = "") -> str:
    """Read a text file of at most LIMIT bytes; links must not leave `within` (default: its own directory)."""
    root = within or os.path.dirname(path)
    try:
        raw = safe_files.read(root, os.path.relpath(path, root), limit=LIMIT)
    except OSError as error:
        if error.errno == errno.EFBIG:
            sentence = f"the file is larger than {LIMIT >> 20} MiB"
            raise EnvFileError(sentence, where=f"{name}:1") from None
        raise EnvFileError(f"cannot read the file: {error.strerror}", where=name) from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise EnvFileError("the file is not UTF-8 text", where=f"{name}:{line}") from None
    if "\0" in text:
        raise EnvFileError(
            "the file is binary, not text", where=f"{name}:{text.count(chr(10), 0, text.index(chr(0))) + 1}"
        )
    return text.replace("\r\n", "\n")


def _is_deep(data: dict[str, Any]) -> bool:
    """True if the data is nested deeper than recursive functions support. Dotted keys count, too."""
    row: list[Any] = [data]
    for _ in range(DEEPEST):
        row = [inner for each in row for inner in (each.values() if isinstance(each, dict) else each)]
        row = [each for each in row if isinstance(each, dict | list)]
    return bool(row)


def _build_depth_error(name: str) -> EnvFileError:
    return EnvFileError("the file is nested too deeply", where=f"{name}:1")


def _refuse_foreign_format(name: str) -> None:
    """Raise EnvFileError if the file name belongs to another tool."""
    if name.endswith(".toml"):
        return
    if tool := next((tool for pattern, tool in _FOREIGN if fnmatch.fnmatch(name.lower(), pattern)), ""):
        remedy = "create a devbox.toml with: devbox init"
        raise EnvFileError(f"this is {tool}, not an env file of devbox", where=name, remedy=remedy)


def _build_syntax_error(message: str, text: str, name: str) -> EnvFileError:
    match = _POSITION.search(message)
    line = int(match["line"]) if match and match["line"] else text.count("\n") + 1
    why = _POSITION.sub("", message)
    column = f", column {match['column']}" if match and match["column"] else ""
    shown = text.split("\n")[line - 1].strip()[:80]
    return EnvFileError(f"invalid TOML: {why[:1].lower()}{why[1:]}{column}", where=f"{name}:{line}", details=shown)
