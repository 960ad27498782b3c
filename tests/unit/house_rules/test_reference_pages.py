"""The hand-written reference pages agree with the code."""

from __future__ import annotations

import ast
import importlib
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


_UNITS = {"s": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20}
_ROW = re.compile(
    r"^\| [^|]+ \| (?P<number>[\d,.]+)(?: (?P<unit>\w+))?[^|]* \| `devbox/(?P<path>[\w/]+)\.py:(?P<name>\w+)` \|$",
    re.MULTILINE,
)


def test_the_page_of_limits_has_the_constants_of_the_code():
    page = _read("limits.md")
    rows = list(_ROW.finditer(page))
    assert len(rows) == page.count(".py:"), "a row that names a constant begins with its number"
    wrong = []
    for row in rows:
        module = importlib.import_module(f"devbox.{row['path'].replace('/', '.')}")
        stated = float(row["number"].replace(",", "")) * _UNITS.get(row["unit"] or "", 1)
        if stated != getattr(module, row["name"]):
            wrong.append(f"{row[0]}: {getattr(module, row['name'])}")
    assert not wrong, "\n".join(wrong)
