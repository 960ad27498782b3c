"""From a file on disk to a TOML value with positions."""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import tomllib
from typing import Any

from devbox.envfile import lines
from devbox.errors import EnvFileError
from devbox.frozen import dataclass
from devbox.host import beneath

LIMIT = 4 * 1024 * 1024
DEEPEST = 64  # tables and lists in each other; an env file needs about six

# Names of other tools' files.
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
class Source:
    """A TOML file as read. `name` is how messages call it."""

    name: str
    data: dict[str, Any]
    lines: lines.Lines


def read(path: str, *, name: str, within: str = "", may_be_empty: bool = False) -> Source:
    """A TOML file that lies in a directory; whatever is wrong with it is one EnvFileError."""
    _refuse_foreign_format(name)
    text = read_text(path, name=name, within=within)
    if not text.strip() and not may_be_empty:
        raise EnvFileError(
            "the file is empty", where=f"{name}:1", remedy='the least it needs: [dev] and recipe = "debian"'
        )
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(str(error), text, name) from None
    except RecursionError:
        raise _too_deep(name) from None
    if _is_deep(data):
        raise _too_deep(name)
    return Source(name=name, data=data, lines=lines.index(text))


def read_text(path: str, *, name: str, within: str = "") -> str:
    """A text file of at most LIMIT bytes `within` a directory, which no link to it leads out of; else in its own."""
    root = within or os.path.dirname(path)
    try:
        raw = beneath.read(root, os.path.relpath(path, root), limit=LIMIT)
    except OSError as error:
        if error.errno == errno.EFBIG:
            sentence = f"the file is larger than {LIMIT >> 20} MiB, which no env file needs"
            raise EnvFileError(sentence, where=f"{name}:1") from None
        raise EnvFileError(f"the file can't be read: {error.strerror}", where=name) from None
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
    """Whether what is in each other goes deeper than those who walk through it do. Dotted keys make depth, too."""
    row: list[Any] = [data]
    for _ in range(DEEPEST):
        row = [inner for each in row for inner in (each.values() if isinstance(each, dict) else each)]
        row = [each for each in row if isinstance(each, dict | list)]
    return bool(row)


def _too_deep(name: str) -> EnvFileError:
    return EnvFileError("the file is nested too deeply", where=f"{name}:1")


def _refuse_foreign_format(name: str) -> None:
    """EnvFileError if the name says that the file is another tool's."""
    if name.endswith(".toml"):
        return
    if tool := next((tool for pattern, tool in _FOREIGN if fnmatch.fnmatch(name.lower(), pattern)), ""):
        remedy = "devbox init writes a devbox.toml"
        raise EnvFileError(f"this is {tool}, not an env file of devbox", where=name, remedy=remedy)


def _not_toml(message: str, text: str, name: str) -> EnvFileError:
    match = _POSITION.search(message)
    line = int(match["line"]) if match and match["line"] else text.count("\n") + 1
    why = _POSITION.sub("", message)
    column = f", column {match['column']}" if match and match["column"] else ""
    shown = text.split("\n")[line - 1].strip()[:80]
    return EnvFileError(f"this is not TOML: {why[:1].lower()}{why[1:]}{column}", where=f"{name}:{line}", details=shown)
