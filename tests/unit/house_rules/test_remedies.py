"""Remedies are right for an installed devbox: no file of a checkout, only commands and options that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.catalogue import entries
from unit.house_rules.source import ROOT, modules, tree

from devbox.cli import synonyms
from devbox.commands.table.index import ALIASES, GROUPS, find, list_commands

# Names of files and targets that only a checkout has.
_TARGETS = "|".join(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
CHECKOUT = re.compile(
    rf"(?<![\w/])((docs|tests|packaging|\.ci)/[\w.-]+|make ({_TARGETS})\b|README|CONTRIBUTING|SECURITY\b|[\w-]+\.md\b)"
)
# The remedy of a checkout itself, when its documentation is not built; the README that a template brings.
OF_A_CHECKOUT = {"devbox/cli/docs.py", "devbox/cli/init.py"}
_CALL = re.compile(r"(?<![\w/.-])devbox ((?:[a-z_]+(?:-[a-z]+)*)(?: [a-z]+(?:-[a-z]+)*)?)((?: [^,;:·)`]*)?)")
_PAGES = {path.stem for path in (ROOT / "docs").rglob("*.md")}
# Words after `devbox` that are not commands.
_WORDS = {"has", "is", "data", "on", "version", "help", "manages", "reads", "as", "pick"}


def _list_texts(path: Path) -> Iterator[tuple[int, str]]:
    """Return the strings of a module, without docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree(path))
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def test_no_text_names_a_file_of_a_checkout():
    found = {
        f"{path.relative_to(ROOT)}:{line}: {match[0]}"
        for path in modules()
        if str(path.relative_to(ROOT)) not in OF_A_CHECKOUT
        for line, text in _list_texts(path)
        for match in CHECKOUT.finditer(text)
    }
    assert not found


def _list_remedies() -> list[tuple[str, str]]:
    own = [(f"{entry.path}:{entry.line}", entry.remedy) for entry in entries() if entry.remedy]
    return [*own, *(("cli/synonyms.py", text) for text in synonyms.INSTEAD.values())]


def _find_mistakes(remedy: str) -> Iterator[str]:
    for match in _CALL.finditer(remedy):
        words, rest = match[1].split(), match[2]
        if words[0] in _WORDS:
            continue
        if words[0] not in GROUPS and not find(words[0]):
            yield f"devbox {words[0]} is not a command"
            continue
        name = " ".join(words) if words[0] in GROUPS else words[0]
        command = find(name) or (None if words[0] in GROUPS and len(words) > 1 else find(words[0]))
        if command is None and not (words[0] in GROUPS and len(words) == 1):
            yield f"devbox {name} is not a command"
        elif command:
            known = {flag for option in command.options for flag in option.flags}
            yield from (f"devbox {name} has no {flag}" for flag in _list_flags(rest) if flag not in known)
            if command.name == "docs" and (topic := (words[1:] + rest.split())[:1]) and topic[0].islower():
                yield from (f"devbox docs has no page {topic[0]}" for _ in "x" if topic[0] not in _PAGES)


def _list_flags(words: str) -> list[str]:
    """Return the options before `--`, of devbox's own command."""
    return re.findall(r"(?<!\S)(--[a-z][a-z-]+|-[a-zA-Z](?![\w-]))", words.partition(" -- ")[0])


def test_every_remedy_names_commands_and_options_that_exist():
    wrong = [
        f"{place}: {mistake}: {remedy}" for place, remedy in _list_remedies() for mistake in _find_mistakes(remedy)
    ]
    assert not wrong


@pytest.mark.parametrize(
    "remedy", ["devbox nonsense", "devbox image nonsense", "devbox up --nonsense", "devbox docs nonsense"]
)
def test_a_wrong_remedy_is_found(remedy: str):
    assert list(_find_mistakes(remedy))


def test_aliases_lead_to_commands():
    assert set(ALIASES.values()) <= set(list_commands()) | set(ALIASES)
