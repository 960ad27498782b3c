"""A Dockerfile for buildah: what it refuses, or reads otherwise than Docker, written so that it reads the same. Pure.

Lines stay where they are, so that an error names the line of the original.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from devbox.errors import BakeFailed
from devbox.images.dockerfile import text as texts
from devbox.images.dockerfile.text import Instruction

_LINK = re.compile(r"(?<=\s)--link(?:=\w+)?(?=\s)")
_FROM = re.compile(r"(?P<flag>--from=)(?P<name>[^\s,]+)")
_MOUNT_FROM = re.compile(r"(?P<flag>\bfrom=)(?P<name>[^\s,]+)")
_REPOSITORY = re.compile(r"(?:git@|git://|ssh://|https?://)\S+\.git(?:#\S*)?|git://\S+")
_COMMANDS = ("CMD", "ENTRYPOINT")


def adapted(text: str) -> str:
    """The text as buildah reads it right.

    Stages are in small letters, COPY has no `--link`, commands have the shell that SHELL names.
    """
    lines = text.split("\n")
    shells: dict[str, list[str]] = {}
    name, shell, names = "", list[str](), set[str]()
    for step in texts.instructions(text):
        if step.word == "FROM":
            name, below = _fold_stage(step, lines, names)
            shell = shells.get(below, [])
        elif step.word == "SHELL":
            shell = _listed(step.rest) or shell
        elif step.word in ("COPY", "ADD"):
            _replace(lines, step, lambda line: _LINK.sub("", line))
            _replace(lines, step, lambda line: _folded(_FROM, line, names))
        elif step.word == "RUN" and "--mount=" in step.rest:
            _replace(lines, step, lambda line: _folded(_MOUNT_FROM, line, names))
        elif step.word in _COMMANDS and shell and not _listed(step.rest):
            words = [*shell, _shown(lines, step)]
            _write(lines, step, f"{step.word} {json.dumps(words, ensure_ascii=False)}")
        shells[name] = shell
    return "\n".join(lines)


def check(text: str, name: str) -> None:
    """BakeFailed for what buildah takes without a word and does not do: ADD of a git repository makes nothing."""
    for step in texts.instructions(text):
        if step.word == "ADD" and any(map(_REPOSITORY.fullmatch, step.rest.split(" ")[:-1])):
            raise BakeFailed(
                f"{name}:{step.line}: ADD of a git repository is not supported",
                remedy="clone it in a stage, at a commit: RUN git clone …, then COPY --from=STAGE",
            )


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
        found = json.loads(rest)
    except ValueError:
        return []
    return found if isinstance(found, list) and all(isinstance(word, str) for word in found) else []
