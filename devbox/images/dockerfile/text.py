"""What a Dockerfile says, as far as devbox must know it: its instructions by line, and the images it begins with.

Pure but for `read`.
Everything else is buildah's to read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from devbox.host import files

_HEREDOC = re.compile(r"<<-?\s*[\"']?([A-Za-z_][A-Za-z0-9_]*)[\"']?")
_ESCAPE = re.compile(r"#\s*escape\s*=\s*(\S)", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:(?P<plain>\w+)|\{(?P<name>\w+)(?:(?P<how>:?[-+])(?P<word>[^}]*))?\})")
_ARGUMENT = re.compile(r"(\w+)(?:=((?:\"[^\"]*\"|'[^']*'|[^\s\"'])*))?")
_FROM_FLAG = re.compile(r"--from=(\S+)")
_MOUNT_FROM = re.compile(r"--mount=\S*\bfrom=([^\s,]+)")


def read(path: str) -> str:
    """A Dockerfile's text, "" where there is none; bytes that are not UTF-8 stay what they are, as in a comment."""
    return files.read_text(path, errors="surrogateescape") or ""


class Instruction(NamedTuple):
    """An instruction on one line, blanks as single spaces. `line` is that of its first word."""

    line: int
    word: str  # "RUN"
    rest: str

    @property
    def text(self) -> str:
        """As buildah repeats it."""
        return f"{self.word} {self.rest}"


def instructions(text: str) -> list[Instruction]:
    """Every instruction in order; comments are none, and here-documents belong to theirs."""
    lines = text.splitlines()
    match = _ESCAPE.match(lines[0]) if lines else None
    escape = match[1] if match else "\\"
    found: list[Instruction] = []
    numbered = iter(enumerate(lines, start=1))
    for number, line in numbered:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        whole = _joined(line, numbered, escape)
        for end in _HEREDOC.findall(whole):
            _skip_to(end, numbered)
        word, _, rest = " ".join(whole.split()).partition(" ")
        found.append(Instruction(number, word.upper(), rest))
    return found


def _joined(line: str, following: Iterator[tuple[int, str]], escape: str) -> str:
    parts = []
    while line.rstrip().endswith(escape):
        parts.append(line.rstrip()[: -len(escape)])
        line = next((text for _, text in following if not text.lstrip().startswith("#")), "")
    return "".join([*parts, line])


def _skip_to(end: str, following: Iterator[tuple[int, str]]) -> None:
    for _, text in following:
        if text.strip() == end:
            return


def bases(text: str, args: Mapping[str, str]) -> dict[str, str]:
    """The images that stages begin with or copy from: as written, and as it is meant with these arguments."""
    values: dict[str, str] = {}
    stages: set[str] = set()
    found: dict[str, str] = {}
    for step in instructions(text):
        if step.word == "ARG" and not stages:
            for name, default in _ARGUMENT.findall(step.rest):
                values[name] = args.get(name, filled(re.sub("[\"']", "", default), values))
        elif step.word == "FROM":
            words = [word for word in step.rest.split(" ") if not word.startswith("--")]
            image = filled(words[0].strip("\"'"), values)
            if image.lower() not in {*stages, "scratch"}:
                found[words[0].strip("\"'")] = image
            stages.add(words[-1].lower() if "AS" in map(str.upper, words[1:]) else str(len(stages)))
        elif step.word in ("COPY", "ADD", "RUN"):
            named = (_MOUNT_FROM if step.word == "RUN" else _FROM_FLAG).findall(step.rest)
            found |= {name: name for name in named if not (name.lower() in stages or name.isdigit())}
    return found


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with its variables replaced, as Dockerfiles do it."""

    def value(match: re.Match[str]) -> str:
        name = match["plain"] or match["name"]
        there = values.get(name, "") if (match["how"] or ":").startswith(":") else values.get(name)
        if match["how"] and match["how"].endswith("-"):
            return (there or match["word"]) if match["how"] == ":-" else there if there is not None else match["word"]
        if match["how"]:
            return match["word"] if (there if match["how"] == ":+" else there is not None) else ""
        return values.get(name, "")

    return _VARIABLE.sub(value, text)


def line_of(text: str, step: str) -> int:
    """The line of the instruction that buildah calls so; 0 where there is none."""
    wanted = " ".join(step.split())
    return next((each.line for each in instructions(text) if each.text == wanted), 0)
