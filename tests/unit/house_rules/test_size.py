"""Files and functions stay small."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

from unit.house_rules.source import ROOT, each, modules, tree

MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60
MOST_FILES = 450  # that are not empty; 387 after ADR 96
MEDIAN = range(120, 181)  # lines
MOST_IMPORTS = 0.075  # of all lines; docs/adr/0096-layout.md
MODULES = modules()


@each(MODULES)
def test_a_file_has_at_most_400_lines(path: Path):
    assert len(path.read_text().splitlines()) <= MOST_LINES, "find the second noun that is hiding"


@each(MODULES)
def test_a_function_has_at_most_60_lines(path: Path):
    functions = (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    long = {
        function.name: function.end_lineno - function.lineno + 1
        for function in functions
        if function.end_lineno is not None and function.end_lineno - function.lineno >= MOST_LINES_OF_A_FUNCTION
    }
    assert not long


def test_init_files_are_empty():
    full = [str(path.relative_to(ROOT)) for path in MODULES if path.name == "__init__.py" and path.stat().st_size]
    assert not full


def test_files_are_few_and_of_medium_size():
    sizes = [lines for path in MODULES if (lines := len(path.read_text().splitlines()))]
    assert len(sizes) <= MOST_FILES
    assert MEDIAN[0] <= statistics.median(sizes) <= MEDIAN[-1]


def test_few_lines_are_imports():
    imports = sum(
        (node.end_lineno or node.lineno) - node.lineno + 1
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
    )
    assert imports <= MOST_IMPORTS * sum(len(path.read_text().splitlines()) for path in MODULES)
