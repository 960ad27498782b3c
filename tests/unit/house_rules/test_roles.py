"""A role's tables are known only in the role's own file: other modules ask the role (ADR 93)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from unit.house_rules.source import PACKAGE, ROOT, each, modules, tree

from devbox.envfile.document import Document
from devbox.roles.catalog import ROLES, TABLE_KINDS
from devbox.roles.role import Role

MODULES = modules()
# What is below the contract, and what lists it.
SHARED = {"catalog", "context", "containers", "fields", "images", "network", "parts", "recipes", "role"}


def _asked(found: ast.AST) -> Iterator[tuple[int, str]]:
    """The classes that a module compares a value's type with: by isinstance, or in a match statement."""
    for node in ast.walk(found):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
            named = [each for argument in node.args[1:] for each in ast.walk(argument)]
            yield from (
                (node.lineno, ast.unparse(each)) for each in named if isinstance(each, ast.Name | ast.Attribute)
            )
        elif isinstance(node, ast.MatchClass):
            yield node.lineno, ast.unparse(node.cls)


def _foreign(found: ast.Module) -> list[str]:
    own = {node.name for node in ast.walk(found) if isinstance(node, ast.ClassDef)}
    classes = ((line, name.rpartition(".")[2]) for line, name in _asked(found))
    return [f"{line}: {name}" for line, name in classes if name.endswith("Table") and name not in own]


@each(MODULES)
def test_a_table_is_recognized_in_its_own_file_only(path: Path):
    assert not _foreign(tree(path)), "ask the role: a method of devbox/roles/role.py"


@pytest.mark.parametrize(
    "line",
    [
        "isinstance(table, ServiceTable)",
        "isinstance(table, service.ServiceTable)",
        "isinstance(table, (str, GlueTable))",
        "isinstance(table, ToolTable | DevTable)",
        "match table:\n    case DevTable(): pass",
    ],
)
def test_the_rule_sees_every_way_to_recognize_a_table(line: str):
    assert _foreign(ast.parse(line))


def test_every_role_is_in_the_catalogue_once_and_in_the_document():
    files = {path.stem for path in (PACKAGE / "roles").glob("*.py")} - SHARED - {"__init__"}
    listed = [type(kind).__module__.rpartition(".")[2] for kind in TABLE_KINDS]
    assert sorted(listed) == sorted(files)
    assert {kind.name for kind in TABLE_KINDS} <= set(Document.model_fields)


def test_the_document_names_no_role():
    text = (ROOT / "devbox/envfile/document.py").read_text()
    assert not [role.table.__name__ for role in ROLES if role.table.__name__ in text]


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_role_keeps_the_contract(role: Role):
    assert role.name
    assert role.about
    assert "image" in vars(type(role))
    assert role.start == role.start.NEVER or "container" in vars(type(role))
    assert not role.shared or role.start == role.start.NEVER
