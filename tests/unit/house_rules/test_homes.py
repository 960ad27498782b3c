"""Starting programs, reading the environment, exiting and heavy imports are each limited to one module."""

from __future__ import annotations

import ast
from pathlib import Path

from unit.house_rules.source import ROOT, attributes, each, imports, modules, tree

_JSON = "read JSON through model.jsontext: a text may be nested so deeply that it stops its reader"
# What only some files may do: the name reached for, its homes, and how everyone else gets it.
HOMES = {
    "subprocess": ({"devbox/host/process.py"}, "start programs through host.process or host.programs"),
    "os.environ": ({"devbox/host/environ.py"}, "read the environment through host.environ"),
    "os.getenv": (set(), "read the environment through host.environ"),
    "os.putenv": (set(), "hand an environment to the program that needs it"),
    "os.system": (set(), "start programs through host.process or host.programs"),
    "os.popen": (set(), "start programs through host.process or host.programs"),
    # mountpoints.py replaces the OCI runtime, and cannot import devbox.
    "json.loads": ({"devbox/model/jsontext.py", "devbox/images/dockerfile/mountpoints.py"}, _JSON),
    "json.load": (set(), _JSON),
    "json.JSONDecoder": (set(), _JSON),
    "json.decoder": (set(), _JSON),
    "sys.exit": ({"devbox/cli/main.py"}, "raise a DevboxError"),
    "sys.argv": (
        {
            "devbox/cli/main.py",
            "devbox/isolation/supervisor/supervisor.py",
            "devbox/images/dockerfile/mountpoints.py",
            "devbox/matrix/reaper.py",
            "devbox/deploy/drift_monitor.py",
        },
        "take parameters",
    ),
}
MODULES = modules()


@each(MODULES)
def test_what_has_a_home_stays_there(path: Path):
    reached = imports(path) | attributes(path)
    here = str(path.relative_to(ROOT))
    astray = {name: advice for name, (homes, advice) in HOMES.items() if name in reached and here not in homes}
    assert not astray


@each(MODULES)
def test_a_module_that_is_run_is_never_looked_for_in_the_current_directory(path: Path):
    """With -m, Python searches there first: it would run a project's files without permission."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.List | ast.Tuple):
            words = {each.value for each in node.elts if isinstance(each, ast.Constant)}
            assert "-m" not in words or "-P" in words, f"line {node.lineno}"


_PAYLOADS = {"devbox/model/ledger_payloads.py", "devbox/envfile/schema.py"}  # the second: another `body`


@each(MODULES)
def test_the_body_of_a_ledger_entry_is_read_and_made_by_its_payload(path: Path):
    for node in ast.walk(tree(path)):
        is_read = isinstance(node, ast.Attribute) and node.attr == "body"
        assert not is_read or str(path.relative_to(ROOT)) in _PAYLOADS, f"line {node.lineno}: use model.ledger_payloads"
        is_made = isinstance(node, ast.keyword) and node.arg == "body" and isinstance(node.value, ast.Dict)
        assert not is_made, f"line {node.lineno}: use to_body() of a payload"
