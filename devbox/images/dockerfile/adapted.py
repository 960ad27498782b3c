"""A Dockerfile for buildah: what it refuses, or reads otherwise than Docker, written so that it reads the same. Pure.

Lines stay where they are but for those that begin with `ADDED`, so that an error names the line of the original.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from devbox.errors import BakeFailed
from devbox.images.dockerfile import escape
from devbox.images.dockerfile import text as texts
from devbox.images.dockerfile.later import ENV_WINS, Later
from devbox.images.dockerfile.text import Instruction
from devbox.model import jsontext

_LINK = re.compile(r"(?<=\s)--link(?:=\w+)?(?=\s)")
_FROM = re.compile(r"(?P<flag>--from=)(?P<name>[^\s,]+)")
_MOUNT_FROM = re.compile(r"(?P<flag>\bfrom=)(?P<name>[^\s,]+)")
_REPOSITORY = re.compile(r"(?:git@|git://|ssh://|https?://)\S+\.git(?:#\S*)?|git://\S+")
_VARIABLE = re.compile(r"^\$\{?(\w+)\}?$")  # all of a word
_COMMANDS = ("CMD", "ENTRYPOINT")
# Instructions whose variables the builder replaces.
_FILLED = ("ADD", "COPY", "ENV", "EXPOSE", "LABEL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR")
_ROOT = ("", "0", "root", "0:0", "root:root")
EMPTY = "devbox-empty"  # a build context without files
_MADE = f"COPY --from={EMPTY} "
ADDED = (_MADE, f"ARG {ENV_WINS}", "VOLUME ")


class Begun(NamedTuple):
    """What an image that stages begin with has set: its user, and the names in its environment."""

    user: str = ""
    env: frozenset[str] = frozenset()


class _Stage(NamedTuple):
    shell: list[str]
    user: str
    later: Later


def adapted(text: str, args: Mapping[str, str] | None = None, begun: Mapping[str, Begun] | None = None) -> str:
    """The text as buildah reads it right, with these arguments, on images that have set this.

    Stages are in small letters, COPY has no `--link`, commands have the shell that SHELL names, WORKDIR makes every
    directory as the user's, of ARG and ENV the later counts, and VOLUME comes last in its stage.
    """
    return _Adapting(_without_escapes(text), args or {}, begun or {}).done()


def _without_escapes(text: str) -> str:
    """The text whose words need no escape character, where that is not the usual one."""
    own, lines = texts.escape_of(text), text.split("\n")
    if own == "\\":
        return text
    for step in texts.instructions(text):
        if step.word in (*_FILLED, "ARG") and not _listed(step.rest) and {"\\", own} & {*_shown(lines, step)}:
            _write(lines, step, f"{step.word} {escape.quoted(_shown(lines, step), own)}")
    return "\n".join(lines)


class _Adapting:
    """One text, instruction by instruction."""

    def __init__(self, text: str, args: Mapping[str, str], begun: Mapping[str, Begun]) -> None:
        self._lines = text.split("\n")
        self._steps = texts.instructions(text)
        self._args = args
        self._outer = texts.outer_arguments(text, args)
        self._begun = begun
        self._meant = iter([stage.meant for stage in texts.stages(text, args)])
        self._names = set[str]()
        self._stages: dict[str, _Stage] = {}
        self._stage = _Stage([], "", Later(frozenset(), args, self._outer))
        self._before: dict[int, list[str]] = {}  # line → those that come before it
        self._volumes: list[str] = []

    def done(self) -> str:
        """The text."""
        for at, step in enumerate(self._steps):
            if step.word == "FROM":
                self._from(step)
            else:
                self._instruction(step, self._steps[at + 1 :])
        lines = [line for at, own in enumerate(self._lines, start=1) for line in (*self._before.get(at, ()), own)]
        return "\n".join([*lines, *(f"{volume}\n" for volume in self._volumes)])

    def _from(self, step: Instruction) -> None:
        self._before[step.line], self._volumes = self._volumes, []
        name, below = _fold_stage(step, self._lines, self._names)
        meant = next(self._meant)
        known = self._stages.get(meant.lower()) or self._stages.get(below)
        begun = self._begun.get(meant, Begun())
        env = known.later.env if known else begun.env
        later = Later(env, self._args, self._outer)
        self._stage = _Stage(known.shell if known else [], known.user if known else begun.user, later)
        self._stages[name] = self._stage

    def _instruction(self, step: Instruction, following: list[Instruction]) -> None:
        lines, stage = self._lines, self._stage
        if step.word in _FILLED:
            _replace(lines, step, stage.later.expanded)
        if step.word == "SHELL":
            self._set(stage._replace(shell=_listed(step.rest) or stage.shell))
        elif step.word == "USER":
            self._set(stage._replace(user=stage.later.expanded(step.rest)))
        elif step.word == "VOLUME":  # buildah would make the directory, and before what makes it otherwise
            self._volumes.append(f"VOLUME {_shown(lines, step)}")
            _write(lines, step, "")
        elif step.word == "WORKDIR":
            self._workdir(step, following)
        elif step.word == "ARG" and (more := stage.later.arg(step.rest)):
            _write(lines, step, f"ARG {_shown(lines, step)}{more}")
        elif step.word == "ENV":
            self._before[step.line] = stage.later.set(step.rest)
        else:
            self._of_stages(step, stage.shell)

    def _of_stages(self, step: Instruction, shell: list[str]) -> None:
        """Instructions that name stages, or run by what the stage has said."""
        lines = self._lines
        if step.word in ("COPY", "ADD"):
            _replace(lines, step, lambda line: _LINK.sub("", line))
            _replace(lines, step, lambda line: _folded(_FROM, line, self._names))
        elif step.word == "RUN" and "--mount=" in step.rest:
            _replace(lines, step, lambda line: _folded(_MOUNT_FROM, line, self._names))
        elif step.word in _COMMANDS and shell and not _listed(step.rest):
            words = [*shell, _shown(lines, step)]
            _write(lines, step, f"{step.word} {json.dumps(words, ensure_ascii=False)}")

    def _set(self, stage: _Stage) -> None:
        """The stage is this from here on, also for those that begin with it."""
        name = next(name for name, known in self._stages.items() if known is self._stage)
        self._stage = self._stages[name] = stage

    def _workdir(self, step: Instruction, following: list[Instruction]) -> None:
        """BuildKit makes the directory and those above it at once, as the user's; buildah at last, as root's."""
        inside = itertools.takewhile(lambda each: each.word != "FROM", following)
        if self._stage.user in _ROOT and all(each.word != "WORKDIR" for each in inside):
            return
        owner = "" if self._stage.user in _ROOT else f"--chown={_owner(self._stage.user)} "
        place = json.dumps([".", f"{_shown(self._lines, step)}/"], ensure_ascii=False)
        self._before[step.line] = [f"{_MADE}{owner}{place}"]


def check(text: str, name: str) -> None:
    """BakeFailed for what buildah takes without a word and does not do: ADD of a git repository makes nothing."""
    for step in texts.instructions(text):
        if step.word == "ADD" and any(map(_REPOSITORY.fullmatch, step.rest.split(" ")[:-1])):
            raise BakeFailed(
                f"{name}:{step.line}: ADD of a git repository is not supported",
                remedy="clone it in a stage, at a commit: RUN git clone …, then COPY --from=STAGE",
            )


def _owner(user: str) -> str:
    """A USER as an owner: who is not named is root."""
    sides = user.split(":")
    return ":".join(_VARIABLE.sub(r"${\1:-0}", side) or "0" for side in sides)


def _fold_stage(step: Instruction, lines: list[str], names: set[str]) -> tuple[str, str]:
    """Fold the names of a FROM; the stage's name and that of what it begins with."""
    words = step.rest.split(" ")
    at = next((at for at, word in enumerate(words) if not word.startswith("--")), 0)
    below = words[at].lower() if words[at].lower() in names else words[at]
    named = len(words) == at + 3 and words[at + 1].upper() == "AS"
    name = words[-1].lower() if named else ""
    folded = [*words[:at], below, *(["AS", name] if named else words[at + 1 :])]
    if folded != words:
        _write(lines, step, " ".join(["FROM", *folded]))
    if name:
        names.add(name)
    return name or f"#{step.line}", below


def _folded(pattern: re.Pattern[str], line: str, names: set[str]) -> str:
    def fold(match: re.Match[str]) -> str:
        name = match["name"].lower()
        return match["flag"] + (name if name in names else match["name"])

    return pattern.sub(fold, line)


def _replace(lines: list[str], step: Instruction, change: Callable[[str], str]) -> None:
    for at in range(step.line - 1, step.end):
        lines[at] = change(lines[at])


def _write(lines: list[str], step: Instruction, line: str) -> None:
    """Have an instruction be this line; those that it went on in are empty."""
    lines[step.line - 1 : step.end] = [line, *[""] * (step.end - step.line)]


def _shown(lines: list[str], step: Instruction) -> str:
    """The words of a command as its shell gets them: the lines it is written in, joined."""
    *first, last = [line for line in lines[step.line - 1 : step.end] if not line.lstrip().startswith("#")]
    joined = "".join([*(line.rstrip()[:-1] for line in first), last])  # all but the last end with the escape character
    return joined.strip()[len(step.word) :].strip()


def _listed(rest: str) -> list[str]:
    """The words of a JSON list; none where it is not one."""
    try:
        found = jsontext.loads(rest)
    except ValueError:
        return []
    return found if isinstance(found, list) and all(isinstance(word, str) for word in found) else []
