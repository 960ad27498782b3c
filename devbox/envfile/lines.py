"""Which line each key of a TOML text stands on. The text is known to be valid: tomllib has read it."""

from __future__ import annotations

import re

from devbox.roles.context import Key

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
    """Key path → line, counted from 1. Items of lists have their number as the last part of the path.

    A table that only its children mention has the line of the first child.
    """
    return _Walk(text).document()


class _Walk:
    """One pass over the tokens, knowing at each place which key it is at."""

    def __init__(self, text: str) -> None:
        self.lines: Lines = {}
        self._line = 1
        self._tokens = _TOKEN.finditer(text)
        self._kind = self._text = ""
        self._arrays: dict[Key, int] = {}
        self._advance()

    def document(self) -> Lines:
        """Statements until the end: headers and keys."""
        table: Key = ()
        while self._kind:
            if self._kind == "newline":
                self._advance()
            elif self._text == "[":
                table = self._header()
            else:
                self._assignment(table)
        return self.lines

    def _advance(self) -> None:
        """The next token that is not space, keeping count of lines."""
        self._line += self._text.count("\n")
        for match in self._tokens:
            if match.lastgroup != "space":
                self._kind, self._text = match.lastgroup or "", match.group()
                return
        self._kind = self._text = ""

    def _header(self) -> Key:
        self._advance()
        is_array = self._text == "["
        if is_array:
            self._advance()
        line = self._line
        key = self._key()
        while self._kind and self._kind != "newline":
            self._advance()
        path = self._in_last_items(key, including_itself=not is_array)
        if is_array:
            number = self._arrays[path] = self._arrays.get(path, -1) + 1
            self._note(path, line)
            path = (*path, number)
        self._note(path, line)
        return path

    def _in_last_items(self, key: Key, *, including_itself: bool) -> Key:
        """A header's path, with the number of the current item after each array of tables in it."""
        path: Key = ()
        for depth, part in enumerate(key):
            path = (*path, part)
            if path in self._arrays and (including_itself or depth < len(key) - 1):
                path = (*path, self._arrays[path])
        return path

    def _assignment(self, table: Key) -> None:
        line = self._line
        path = (*table, *self._key())
        self._note(path, line)
        self._advance()  # the equals sign
        self._value(path)

    def _key(self) -> Key:
        """A dotted key, up to what follows it."""
        parts: list[str] = []
        while self._kind in ("bare", "string") or self._text == ".":
            if self._text != ".":
                parts.append(_plain(self._text))
            self._advance()
        return tuple(parts)

    def _value(self, path: Key) -> None:
        if self._text == "[":
            self._list(path)
        elif self._text == "{":
            self._inline_table(path)
        else:
            while self._kind and self._kind != "newline" and self._text not in (",", "]", "}"):
                self._advance()

    def _list(self, path: Key) -> None:
        self._advance()
        number = 0
        while self._kind and self._text != "]":
            if self._kind == "newline" or self._text == ",":
                self._advance()
                continue
            self._note((*path, number), self._line)
            self._value((*path, number))
            number += 1
        self._advance()

    def _inline_table(self, path: Key) -> None:
        self._advance()
        while self._kind and self._text != "}":
            if self._kind == "newline" or self._text == ",":
                self._advance()
            else:
                self._assignment(path)
        self._advance()

    def _note(self, path: Key, line: int) -> None:
        """Remember a path and the tables above it that have no line yet."""
        for depth in range(1, len(path)):
            self.lines.setdefault(path[:depth], line)
        self.lines.setdefault(path, line)


def _plain(text: str) -> str:
    """A key without its quotes. Escapes are undone by the reader of TOML itself."""
    if text.startswith('"') and "\\" in text:
        import tomllib

        return next(iter(tomllib.loads(f"{text} = 0")))
    return text[1:-1] if text[:1] in "\"'" else text
