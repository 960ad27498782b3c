"""Rewriting of a Dockerfile so that buildah interprets it as Docker does. Pure.

Line positions are preserved except for inserted lines that start with `ADDED`, so that errors name the original line.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from devbox.errors import BakeFailed
from devbox.images.dockerfile import parse as texts
from devbox.images.dockerfile.parse import Instruction
from devbox.model import jsontext


def quote_escapes(rest: str, escape: str) -> str:
    """Replace escapes by quotes, and quote literal backslashes."""
    own = re.escape(escape)
    inside = re.compile(rf"{own}([\"${own}])|(\\)")
    token = re.compile(rf"(?P<single>'[^']*')|\"(?P<double>(?:{own}.|[^\"{own}])*)\"|{own}(?P<escaped>.)|(?P<plain>\\)")

    def replace_match(match: re.Match[str]) -> str:
        if match["single"] is not None:
            return match[0]
        if match["double"] is not None:
            kept = inside.sub(lambda each: f'"{_quote_char(each[1] or each[2])}"', match["double"])
            return f'"{kept}"'
        return _quote_char(match["escaped"] or match["plain"])

    return token.sub(replace_match, rest)


def _quote_char(char: str) -> str:
    return '"\'"' if char == "'" else f"'{char}'"


ARG_WINS, ENV_WINS = "DEVBOX_ARG_", "DEVBOX_ENV_"
_ASSIGNED = re.compile(r"([^\s=\"']+)=")
_TOKEN = re.compile(r"\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"|\$\{?\w+")
_INSIDE = re.compile(r"\\.|\$\{?\w+")


class StageVariables:
    """The variables set by ENV and ARG so far in a stage."""

    def __init__(self, env: frozenset[str], args: Mapping[str, str], outer: Mapping[str, str]) -> None:
        """Track a stage; `env`: variables of its base; `args`: given values; `outer`: arguments before any FROM."""
        self.env = env
        self._args = args
        self._outer = outer
        self._current: dict[str, str] = {}  # name → the variable that holds its value
        self._count = 0

    def add_arg(self, rest: str) -> str:
        """Return additional words for an ARG, each preceded by a space; "" for none."""
        added = []
        for word in texts.split_words(rest):
            name, equals, default = word.partition("=")
            if name not in self.env:
                continue
            if name in self._args:
                value = _quote_value(self._args[name])
            elif equals:
                value = self.expand(default)
            elif name in self._outer:
                value = _quote_value(self._outer[name])
            else:
                continue  # without a value: ENV's value applies
            self._count += 1
            self._current[name] = f"{ARG_WINS}{self._count}_{name}"
            added.append(f" {self._current[name]}={value}")
        return "".join(added)

    def add_env(self, rest: str) -> list[str]:
        """Return the lines to insert before an ENV, which takes precedence from here on."""
        names = parse_assigned(rest)
        self.env |= names
        lines = []
        for name in sorted(names & self._current.keys()):
            self._count += 1
            lines.append(f"ARG {ENV_WINS}{self._count}_{name}=1")
            del self._current[name]
        return lines

    def expand(self, line: str) -> str:
        """Redirect a line's variables to those that take precedence."""
        return _TOKEN.sub(self._expand_token, line) if self._current else line

    def _expand_token(self, match: re.Match[str]) -> str:
        word = match[0]
        if word.startswith('"'):
            return _INSIDE.sub(self._expand_token, word)
        name = word.lstrip("${")
        return word.removesuffix(name) + self._current[name] if word[0] == "$" and name in self._current else word


def parse_assigned(rest: str) -> frozenset[str]:
    """Return the variables that an ENV sets."""
    words = texts.split_words(rest)
    if not words or "=" not in words[0]:
        return frozenset(words[:1])
    return frozenset(match[1] for word in words if (match := _ASSIGNED.match(word)))


def _quote_value(value: str) -> str:
    """Quote a value as one word."""
    return "'" + value.replace("'", "'\"'\"'") + "'"


_LINK = re.compile(r"(?<=\s)--link(?:=\w+)?(?=\s)")
_FROM = re.compile(r"(?P<flag>--from=)(?P<name>[^\s,]+)")
_MOUNT_FROM = re.compile(r"(?P<flag>\bfrom=)(?P<name>[^\s,]+)")
_REPOSITORY = re.compile(r"(?:git@|git://|ssh://|https?://)\S+\.git(?:#\S*)?|git://\S+")
_VARIABLE = re.compile(r"^\$\{?(\w+)\}?$")  # an entire word
_COMMANDS = ("CMD", "ENTRYPOINT")
# Instructions in which the builder expands variables.
_FILLED = ("ADD", "COPY", "ENV", "EXPOSE", "LABEL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR")
_ROOT = ("", "0", "root", "0:0", "root:root")
EMPTY_BASE = "devbox-empty"  # a build context without files
_COPY_EMPTY = f"COPY --from={EMPTY_BASE} "
ADDED = (_COPY_EMPTY, f"ARG {ENV_WINS}", "VOLUME ")


class BaseSettings(NamedTuple):
    """Settings of a base image: its user, and the names of its environment variables."""

    user: str = ""
    env: frozenset[str] = frozenset()


class _StageState(NamedTuple):
    shell: list[str]
    user: str
    later: StageVariables


def adapt_dockerfile(
    text: str, args: Mapping[str, str] | None = None, begun: Mapping[str, BaseSettings] | None = None
) -> str:
    """Return the text that buildah interprets correctly with these arguments and base image settings.

    Stage names are in lower case, COPY has no `--link`, commands use SHELL's shell, WORKDIR creates all directories as
    the user, the later of ARG and ENV takes precedence, and VOLUME comes last in its stage.
    """
    return _Rewriter(_remove_escapes(text), args or {}, begun or {}).rewrite()


def _remove_escapes(text: str) -> str:
    """Rewrite instructions to not need the escape character, if it is not a backslash."""
    own, lines = texts.find_escape(text), text.split("\n")
    if own == "\\":
        return text
    for step in texts.parse_instructions(text):
        if (
            step.word in (*_FILLED, "ARG")
            and not _parse_list(step.rest)
            and {"\\", own} & {*_read_command(lines, step)}
        ):
            _write_line(lines, step, f"{step.word} {quote_escapes(_read_command(lines, step), own)}")
    return "\n".join(lines)


class _Rewriter:
    """Rewrites one text, instruction by instruction."""

    def __init__(self, text: str, args: Mapping[str, str], begun: Mapping[str, BaseSettings]) -> None:
        self._lines = text.split("\n")
        self._steps = texts.parse_instructions(text)
        self._args = args
        self._outer = texts.parse_outer_arguments(text, args)
        self._begun = begun
        self._expanded = iter([stage.expanded for stage in texts.parse_stages(text, args)])
        self._names = set[str]()
        self._stages: dict[str, _StageState] = {}
        self._stage = _StageState([], "", StageVariables(frozenset(), args, self._outer))
        self._before: dict[int, list[str]] = {}  # line → lines inserted before it
        self._volumes: list[str] = []

    def rewrite(self) -> str:
        """Return the rewritten text."""
        for at, step in enumerate(self._steps):
            if step.word == "FROM":
                self._handle_from(step)
            else:
                self._handle_instruction(step, self._steps[at + 1 :])
        lines = [line for at, own in enumerate(self._lines, start=1) for line in (*self._before.get(at, ()), own)]
        return "\n".join([*lines, *(f"{volume}\n" for volume in self._volumes)])

    def _handle_from(self, step: Instruction) -> None:
        self._before[step.line], self._volumes = self._volumes, []
        name, below = _fold_stage(step, self._lines, self._names)
        expanded = next(self._expanded)
        known = self._stages.get(expanded.lower()) or self._stages.get(below)
        begun = self._begun.get(expanded, BaseSettings())
        env = known.later.env if known else begun.env
        later = StageVariables(env, self._args, self._outer)
        self._stage = _StageState(known.shell if known else [], known.user if known else begun.user, later)
        self._stages[name] = self._stage

    def _handle_instruction(self, step: Instruction, following: list[Instruction]) -> None:
        lines, stage = self._lines, self._stage
        if step.word in _FILLED:
            _replace_lines(lines, step, stage.later.expand)
        if step.word == "SHELL":
            self._update_stage(stage._replace(shell=_parse_list(step.rest) or stage.shell))
        elif step.word == "USER":
            self._update_stage(stage._replace(user=stage.later.expand(step.rest)))
        elif step.word == "VOLUME":  # buildah would create the directory before other instructions do
            self._volumes.append(f"VOLUME {_read_command(lines, step)}")
            _write_line(lines, step, "")
        elif step.word == "WORKDIR":
            self._handle_workdir(step, following)
        elif step.word == "ARG" and (more := stage.later.add_arg(step.rest)):
            _write_line(lines, step, f"ARG {_read_command(lines, step)}{more}")
        elif step.word == "ENV":
            self._before[step.line] = stage.later.add_env(step.rest)
        else:
            self._handle_stage_use(step, stage.shell)

    def _handle_stage_use(self, step: Instruction, shell: list[str]) -> None:
        """Rewrite instructions that refer to stages, or depend on the stage's shell."""
        lines = self._lines
        if step.word in ("COPY", "ADD"):
            _replace_lines(lines, step, lambda line: _LINK.sub("", line))
            _replace_lines(lines, step, lambda line: _fold_names(_FROM, line, self._names))
        elif step.word == "RUN" and "--mount=" in step.rest:
            _replace_lines(lines, step, lambda line: _fold_names(_MOUNT_FROM, line, self._names))
        elif step.word in _COMMANDS and shell and not _parse_list(step.rest):
            words = [*shell, _read_command(lines, step)]
            _write_line(lines, step, f"{step.word} {json.dumps(words, ensure_ascii=False)}")

    def _update_stage(self, stage: _StageState) -> None:
        """Update the current stage, also for stages based on it."""
        name = next(name for name, known in self._stages.items() if known is self._stage)
        self._stage = self._stages[name] = stage

    def _handle_workdir(self, step: Instruction, following: list[Instruction]) -> None:
        """Create the directories as BuildKit does: at once and owned by the user; buildah does so last and as root."""
        inside = itertools.takewhile(lambda each: each.word != "FROM", following)
        if self._stage.user in _ROOT and all(each.word != "WORKDIR" for each in inside):
            return
        owner = "" if self._stage.user in _ROOT else f"--chown={_format_owner(self._stage.user)} "
        place = json.dumps([".", f"{_read_command(self._lines, step)}/"], ensure_ascii=False)
        self._before[step.line] = [f"{_COPY_EMPTY}{owner}{place}"]


def check_supported(text: str, name: str) -> None:
    """Raise BakeFailed for ADD of a git repository, which buildah silently ignores."""
    for step in texts.parse_instructions(text):
        if step.word == "ADD" and any(map(_REPOSITORY.fullmatch, step.rest.split(" ")[:-1])):
            raise BakeFailed(
                f"{name}:{step.line}: ADD of a git repository is not supported",
                remedy="clone it in a build stage at a commit: RUN git clone …, then COPY --from=STAGE",
            )


def _format_owner(user: str) -> str:
    """Format a USER as an owner; a missing part means root."""
    sides = user.split(":")
    return ":".join(_VARIABLE.sub(r"${\1:-0}", side) or "0" for side in sides)


def _fold_stage(step: Instruction, lines: list[str], names: set[str]) -> tuple[str, str]:
    """Lower-case the stage names of a FROM; return the stage's name and its base."""
    words = step.rest.split(" ")
    at = next((at for at, word in enumerate(words) if not word.startswith("--")), 0)
    below = words[at].lower() if words[at].lower() in names else words[at]
    named = len(words) == at + 3 and words[at + 1].upper() == "AS"
    name = words[-1].lower() if named else ""
    folded = [*words[:at], below, *(["AS", name] if named else words[at + 1 :])]
    if folded != words:
        _write_line(lines, step, " ".join(["FROM", *folded]))
    if name:
        names.add(name)
    return name or f"#{step.line}", below


def _fold_names(pattern: re.Pattern[str], line: str, names: set[str]) -> str:
    def fold(match: re.Match[str]) -> str:
        name = match["name"].lower()
        return match["flag"] + (name if name in names else match["name"])

    return pattern.sub(fold, line)


def _replace_lines(lines: list[str], step: Instruction, change: Callable[[str], str]) -> None:
    for at in range(step.line - 1, step.end):
        lines[at] = change(lines[at])


def _write_line(lines: list[str], step: Instruction, line: str) -> None:
    """Replace an instruction by a line; its continuation lines become empty."""
    lines[step.line - 1 : step.end] = [line, *[""] * (step.end - step.line)]


def _read_command(lines: list[str], step: Instruction) -> str:
    """Return a command's arguments as passed to its shell: its lines, joined."""
    *first, last = [line for line in lines[step.line - 1 : step.end] if not line.lstrip().startswith("#")]
    joined = "".join([*(line.rstrip()[:-1] for line in first), last])  # all but the last end with the escape character
    return joined.strip()[len(step.word) :].strip()


def _parse_list(rest: str) -> list[str]:
    """Return the words of a JSON list; [] if it is not one."""
    try:
        found = jsontext.loads(rest)
    except ValueError:
        return []
    return found if isinstance(found, list) and all(isinstance(word, str) for word in found) else []
