"""Partial Dockerfile parser: instructions by line, and base images.

Pure except for `read`.
Everything else is left to buildah.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from devbox.host import files
from devbox.images.store.manifest import get_architecture

_HEREDOC = re.compile(r"\d*<<(?P<tabs>-?)(?P<quote>[\"']?)(?P<end>[^<\"']+)(?P=quote)")
_WITH_HEREDOCS = ("RUN", "COPY", "ADD")
_WORD = re.compile(r"(?:\"(?:\\.|[^\"\\])*\"|'[^']*'|\\.|[^\s\"'\\])+")
_ESCAPE = re.compile(r"#\s*escape\s*=\s*(\S)", re.IGNORECASE)
_VARIABLE = re.compile(r"\$(?:(?P<plain>\w+)|\{(?P<name>\w+)(?P<how>:?[-+?])?)")
_ARGUMENT = re.compile(r"(\w+)(?:=((?:\"[^\"]*\"|'[^']*'|[^\s\"'])*))?")
_FROM_FLAG = re.compile(r"--from=(\S+)")
_MOUNT_FROM = re.compile(r"--mount=\S*\bfrom=([^\s,]+)")


def read(path: str) -> str:
    """Return a Dockerfile's text, "" if missing; bytes that are not UTF-8 are preserved, as in a comment."""
    return files.read_text(path, errors="surrogateescape", waits=True) or ""


class Instruction(NamedTuple):
    """An instruction joined to one line with single spaces. `line` is its first line, `end` its last."""

    line: int
    word: str  # "RUN"
    rest: str
    end: int = 0  # here-documents follow it

    @property
    def text(self) -> str:
        """The instruction as buildah prints it."""
        return f"{self.word} {self.rest}"


class BuildStage(NamedTuple):
    """A stage: its base as written and as expanded, and the stages and images that it copies from."""

    name: str  # in lower case; the stage's number if unnamed
    written: str
    expanded: str
    takes: tuple[str, ...]  # as written


def parse_instructions(text: str) -> list[Instruction]:
    """Return all instructions in order, without comments and here-document bodies."""
    lines, escape = text.splitlines(), find_escape(text)
    found: list[Instruction] = []
    numbered = iter(enumerate(lines, start=1))
    for number, line in numbered:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        whole, end = _join_lines(number, line, numbered, escape)
        word, _, rest = " ".join(whole.split()).partition(" ")
        if word.upper() in _WITH_HEREDOCS:
            for each in map(_HEREDOC.fullmatch, _WORD.findall(whole)):
                if each:
                    _skip_to(each["end"], numbered, tabs=bool(each["tabs"]))
        found.append(Instruction(number, word.upper(), rest, end))
    return found


def find_escape(text: str) -> str:
    """Return the escape character from `# escape=`; a backslash by default."""
    match = _ESCAPE.match(text)
    return match[1] if match else "\\"


def _join_lines(number: int, line: str, following: Iterator[tuple[int, str]], escape: str) -> tuple[str, int]:
    """Join a line with its continuation lines; return it with the number of the last."""
    parts = []
    while line.rstrip().endswith(escape):
        parts.append(line.rstrip()[: -len(escape)])
        number, line = next((each for each in following if not each[1].lstrip().startswith("#")), (number, ""))
    return "".join([*parts, line]), number


def _skip_to(end: str, following: Iterator[tuple[int, str]], *, tabs: bool) -> None:
    for _, text in following:
        if (text.lstrip("\t") if tabs else text) == end:
            return


def split_words(rest: str) -> list[str]:
    """Return the words of an instruction, including quotes."""
    return _WORD.findall(rest)


def find_bases(text: str, args: Mapping[str, str], target: str = "") -> dict[str, str]:
    """Return the images that a target's stages are based on or copy from: written form → expanded form.

    `target`: a stage, "" for the last one. Stages that it does not depend on are ignored: they are not built.
    """
    known = parse_stages(text, args)
    by_name = {name: at for at, stage in enumerate(known) for name in (str(at), stage.name)}
    found: dict[str, str] = {}
    waiting = [by_name.get(target.lower(), len(known) - 1)] if known else []
    seen: set[int] = set()
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        stage = known[at]
        for written, expanded in ((stage.written, stage.expanded), *((each, each) for each in stage.takes)):
            below = by_name.get(expanded.lower(), at)
            if below < at and not (written == stage.written and expanded.isdigit()):
                waiting.append(below)
            elif expanded.lower() != "scratch" and not expanded.isdigit():
                found[written] = expanded
    order = [written for stage in known for written in (stage.written, *stage.takes)]
    return {written: found[written] for written in dict.fromkeys(order) if written in found}


def parse_stages(text: str, args: Mapping[str, str]) -> list[BuildStage]:
    """Return the stages in order, expanded with these arguments."""
    values = parse_outer_arguments(text, args)
    found: list[BuildStage] = []
    for step in parse_instructions(text):
        if step.word == "FROM":
            words = [word for word in step.rest.split(" ") if not word.startswith("--")]
            written = words[0].strip("\"'")
            named = "AS" in map(str.upper, words[1:])
            found.append(
                BuildStage(
                    words[-1].lower() if named else str(len(found)), written, expand_variables(written, values), ()
                )
            )
        elif step.word in _WITH_HEREDOCS and found:
            named_ = (_MOUNT_FROM if step.word == "RUN" else _FROM_FLAG).findall(step.rest)
            found[-1] = found[-1]._replace(takes=(*found[-1].takes, *named_))
    return found


def parse_outer_arguments(text: str, args: Mapping[str, str]) -> dict[str, str]:
    """Return the arguments before the first FROM, overridden by `args`."""
    values = dict(build_platform_arguments())
    for step in parse_instructions(text):
        if step.word == "FROM":
            break
        if step.word == "ARG":
            for name, default in _ARGUMENT.findall(step.rest):
                values[name] = args.get(
                    name, expand_variables(re.sub("[\"']", "", default), values) or values.get(name, "")
                )
    return values


def build_platform_arguments() -> dict[str, str]:
    """Return the predefined platform arguments; target and build platform are the host's."""
    arch = get_architecture()
    facts = {"PLATFORM": f"linux/{arch}", "OS": "linux", "ARCH": arch, "VARIANT": ""}
    return {f"{side}{name}": value for side in ("TARGET", "BUILD") for name, value in facts.items()}


def expand_variables(text: str, values: Mapping[str, str]) -> str:
    """Expand variables with Dockerfile semantics, including nested defaults."""
    done = ""
    while match := _VARIABLE.search(text):
        done, rest = done + text[: match.start()], text[match.end() :]
        if match["plain"]:
            done, text = done + values.get(match["plain"], ""), rest
            continue
        end = _find_closing(rest)
        value = values.get(match["name"])
        done, text = (
            done + _choose_value(value, match["how"] or "", expand_variables(rest[:end], values)),
            rest[end + 1 :],
        )
    return done + text


def _choose_value(value: str | None, how: str, word: str) -> str:
    """Return the value of `${NAME:-word}` and similar forms."""
    is_set = bool(value) if how.startswith(":") else value is not None
    if how.endswith("+"):
        return word if is_set else ""
    if how.endswith("-") and not is_set:
        return word
    return value or ""


def _find_closing(text: str) -> int:
    """Return the index of the brace that closes one opened before the text."""
    depth = 1
    for at, char in enumerate(text):
        depth += (text[at - 1 : at + 1] == "${") - (char == "}")
        if not depth:
            return at
    return len(text)


def find_line(text: str, step: str, *, added: tuple[str, ...]) -> tuple[int, str]:
    """Return (original line, text) of the instruction in buildah's message; line 0 if not found.

    `added`: prefixes of inserted lines; the line after such a line is the one that it was inserted for.
    """
    desired, before, own = " ".join(step.split()), 0, False
    for each in parse_instructions(text):
        own = own or each.text == desired
        if each.text.startswith(added):
            before += 1
        elif own:
            return each.line - before, each.text
    return 0, step
