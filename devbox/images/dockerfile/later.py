"""ARG and ENV of one name: in BuildKit the later of them counts, in buildah ENV always does. Pure.

An ARG that comes after ENV is given a second name, which the instructions below use; in RUN, the runtime's wrapper
turns it into the first. An ENV that comes after that is told to the wrapper by an ARG as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from devbox.images.dockerfile import text as texts

ARG_WINS, ENV_WINS = "DEVBOX_ARG_", "DEVBOX_ENV_"
_ASSIGNED = re.compile(r"([^\s=\"']+)=")
_TOKEN = re.compile(r"\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"|\$\{?\w+")
_INSIDE = re.compile(r"\\.|\$\{?\w+")


class Later:
    """What ENV and ARG have said so far in a stage."""

    def __init__(self, env: frozenset[str], args: Mapping[str, str], outer: Mapping[str, str]) -> None:
        """`env`: the variables of what the stage begins with; `args`: given ones; `outer`: those before any FROM."""
        self.env = env
        self._args = args
        self._outer = outer
        self._current: dict[str, str] = {}  # name → the name that has its value
        self._count = 0

    def arg(self, rest: str) -> str:
        """The words that an ARG gets as well, each with a blank before; "" for none."""
        added = []
        for word in texts.words(rest):
            name, equals, default = word.partition("=")
            if name not in self.env:
                continue
            if name in self._args:
                value = _quoted(self._args[name])
            elif equals:
                value = self.expanded(default)
            elif name in self._outer:
                value = _quoted(self._outer[name])
            else:
                continue  # it has no value: that of ENV stays
            self._count += 1
            self._current[name] = f"{ARG_WINS}{self._count}_{name}"
            added.append(f" {self._current[name]}={value}")
        return "".join(added)

    def set(self, rest: str) -> list[str]:
        """The lines to come before an ENV, which counts from here on."""
        names = assigned(rest)
        self.env |= names
        lines = []
        for name in sorted(names & self._current.keys()):
            self._count += 1
            lines.append(f"ARG {ENV_WINS}{self._count}_{name}=1")
            del self._current[name]
        return lines

    def expanded(self, line: str) -> str:
        """A line whose variables are those that count."""
        return _TOKEN.sub(self._token, line) if self._current else line

    def _token(self, match: re.Match[str]) -> str:
        word = match[0]
        if word.startswith('"'):
            return _INSIDE.sub(self._token, word)
        name = word.lstrip("${")
        return word.removesuffix(name) + self._current[name] if word[0] == "$" and name in self._current else word


def assigned(rest: str) -> frozenset[str]:
    """The variables that ENV sets."""
    words = texts.words(rest)
    if not words or "=" not in words[0]:
        return frozenset(words[:1])
    return frozenset(match[1] for word in words if (match := _ASSIGNED.match(word)))


def _quoted(value: str) -> str:
    """A word that means this value."""
    return "'" + value.replace("'", "'\"'\"'") + "'"
