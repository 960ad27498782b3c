"""What a Dockerfile says, as far as devbox must know it: its instructions by line, and the images it begins with.

Pure but for `read`.
Everything else is buildah's to read.
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
_OPENED = re.compile(r"\$(?:(?P<plain>\w+)|\{(?P<name>\w+)(?P<how>:?[-+?])?)")
_ARGUMENT = re.compile(r"(\w+)(?:=((?:\"[^\"]*\"|'[^']*'|[^\s\"'])*))?")
_FROM_FLAG = re.compile(r"--from=(\S+)")
_MOUNT_FROM = re.compile(r"--mount=\S*\bfrom=([^\s,]+)")


def read(path: str) -> str:
    """A Dockerfile's text, "" where there is none; bytes that are not UTF-8 stay what they are, as in a comment."""
    return files.read_text(path, errors="surrogateescape", waits=True) or ""


class Instruction(NamedTuple):
    """An instruction on one line, blanks as single spaces. `line` is that of its first word, `end` of its last."""

    line: int
    word: str  # "RUN"
    rest: str
    end: int = 0  # here-documents come after it

    @property
    def text(self) -> str:
        """As buildah repeats it."""
        return f"{self.word} {self.rest}"


class BuildStage(NamedTuple):
    """A stage: what it begins with, as written and as it is meant; the stages and images that it takes from."""

    name: str  # in small letters; its number where it has none
    written: str
    meant: str
    takes: tuple[str, ...]  # as written


def parse_instructions(text: str) -> list[Instruction]:
    """Every instruction in order; comments are none, and here-documents belong to theirs."""
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
    """The character that `# escape=` names; a backslash where it does not."""
    match = _ESCAPE.match(text)
    return match[1] if match else "\\"


def _join_lines(number: int, line: str, following: Iterator[tuple[int, str]], escape: str) -> tuple[str, int]:
    """A line and those that it goes on in; the number of the last."""
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
    """The words of an instruction, quotes and all."""
    return _WORD.findall(rest)


def find_bases(text: str, args: Mapping[str, str], target: str = "") -> dict[str, str]:
    """The images that the stages of a target begin with or copy from: as written, and as they are meant.

    `target`: a stage; the last where it is "". Stages that it does not need are nobody's business: they are not built.
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
        for written, meant in ((stage.written, stage.meant), *((each, each) for each in stage.takes)):
            below = by_name.get(meant.lower(), at)
            if below < at and not (written == stage.written and meant.isdigit()):
                waiting.append(below)
            elif meant.lower() != "scratch" and not meant.isdigit():
                found[written] = meant
    order = [written for stage in known for written in (stage.written, *stage.takes)]
    return {written: found[written] for written in dict.fromkeys(order) if written in found}


def parse_stages(text: str, args: Mapping[str, str]) -> list[BuildStage]:
    """The stages in order, with these arguments."""
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
    """The arguments before the first FROM, with these given ones."""
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
    """The arguments that every Dockerfile has before its first FROM: what is built for, and on, is this machine."""
    arch = get_architecture()
    facts = {"PLATFORM": f"linux/{arch}", "OS": "linux", "ARCH": arch, "VARIANT": ""}
    return {f"{side}{name}": value for side in ("TARGET", "BUILD") for name, value in facts.items()}


def expand_variables(text: str, values: Mapping[str, str]) -> str:
    """The text with its variables replaced, as Dockerfiles do it; one may stand in the default of another."""
    done = ""
    while match := _OPENED.search(text):
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
    """The value of `${NAME:-word}` and the like."""
    there = bool(value) if how.startswith(":") else value is not None
    if how.endswith("+"):
        return word if there else ""
    if how.endswith("-") and not there:
        return word
    return value or ""


def _find_closing(text: str) -> int:
    """Where the brace closes that was opened before the text."""
    depth = 1
    for at, char in enumerate(text):
        depth += (text[at - 1 : at + 1] == "${") - (char == "}")
        if not depth:
            return at
    return len(text)


def find_line(text: str, step: str, *, added: tuple[str, ...]) -> tuple[int, str]:
    """The line of the instruction that buildah calls so, and what it is; 0 where there is none.

    `added`: how lines begin that the original does not have. What comes after such a line is what it was added for.
    """
    wanted, before, own = " ".join(step.split()), 0, False
    for each in parse_instructions(text):
        own = own or each.text == wanted
        if each.text.startswith(added):
            before += 1
        elif own:
            return each.line - before, each.text
    return 0, step
