"""The hand-written reference pages agree with the code."""

from __future__ import annotations

import ast
import re

from unit.house_rules.source import ROOT, modules, tree

_NAME = re.compile(r"\bDEVBOX_[A-Z]+(?:_[A-Z]+)*\b")
# Directories of programs: prefixes that the code completes.
_PREFIXES = {"DEVBOX_MIRROR"}


def _read(name: str) -> str:
    return (ROOT / "docs/reference" / name).read_text()


def _variables_of_the_code() -> set[str]:
    """Names of devbox's own variables in strings, and of all variables that are read by name."""
    found: set[str] = set()
    for path in modules():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(_NAME.findall(node.value))
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if is_call and ast.unparse(node.func) == "environ.get" and isinstance(node.args[0], ast.Constant):
                found.add(str(node.args[0].value))
    return found - _PREFIXES


def test_the_page_of_variables_has_every_variable():
    page = set(re.findall(r"`([A-Za-z_]+)`", _read("environment.md")))
    assert sorted(_variables_of_the_code() - page) == []


def test_the_page_of_variables_has_no_other_variable():
    derived = {"DEVBOX_MIRROR_DEBIAN_SECURITY", "DEVBOX_MIRROR_UBUNTU_SECURITY"}
    page = set(re.findall(r"`(DEVBOX_[A-Z_]*[A-Z])`", _read("environment.md")))
    assert sorted(page - _variables_of_the_code() - derived) == []
