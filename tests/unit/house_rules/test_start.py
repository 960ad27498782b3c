"""Start-up time: which modules each command of the hot path loads, in addition to Python's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from unit.house_rules.source import ROOT

# Never on the hot path; each costs about as much as a whole `crun exec`.
HEAVY = {
    "asyncio", "click", "ctypes", "dataclasses", "hashlib", "importlib.metadata", "inspect", "jinja2", "logging",
    "pathlib", "pydantic", "rich", "shutil", "subprocess", "tempfile", "tomllib", "typer", "typing",
}  # fmt: skip
READS_STATE = {"ctypes", "json", "typing"}  # what a command that reads state.json and checks pids pays on top

# One line each: the command, and what it may load of HEAVY.
COMMANDS = {
    ("--version",): set(),
    ("exec", "--", "true"): set(),
    ("ps", "--json"): READS_STATE,
    ("logs",): {"typing"},
}
# Before 3.12 the interpreter's own SHA-256 went by another name; hashlib then costs 3 ms.
OLD = {"hashlib"} if sys.version_info < (3, 12) else set()
# Loaded by none of them: what parses and decides.
DECIDERS = ("devbox.flow", "devbox.envfile", "devbox.roles", "devbox.plan", "devbox.engines", "devbox.images")

PROBE = """
import sys
before = set(sys.modules)
from devbox.cli import main
main.run(sys.argv[1:])
sys.stderr.flush()
print("LOADED", *sorted(set(sys.modules) - before))
"""


def loaded(words: tuple[str, ...], directory: Path) -> set[str]:
    """The modules that a command line brings in, run in a project where nothing is up."""
    env = {**os.environ, "DEVBOX_HOME": str(directory / "home"), "DEVBOX_RUNTIME_DIR": str(directory / "run")}
    env.pop("COVERAGE_PROCESS_START", None)
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *words], cwd=directory, env=env, capture_output=True, text=True, check=True
    )
    return set(done.stdout.rpartition("LOADED")[2].split())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "devbox.toml").write_text('[dev]\nrecipe = "no such recipe"\n')
    return tmp_path


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_hot_command_loads_nothing_heavy(words: tuple[str, ...], project: Path):
    found = loaded(words, project)
    assert not (found & HEAVY) - COMMANDS[words] - OLD
    assert not [name for name in found if name.startswith(DECIDERS)]


def test_version_loads_next_to_nothing(project: Path):
    ours = {name for name in loaded(("--version",), project) if name.startswith("devbox")}
    assert ours == {"devbox", "devbox.cli", "devbox.cli.main", "devbox.errors", "devbox.host", "devbox.host.version"}


# What each of these modules brings in when it is imported: nothing that only bakes, transfers or runs programs.
WARM = (
    "devbox.flow", "devbox.cli.plan", "devbox.cli.up", "devbox.cli.data", "devbox.cli.test", "devbox.commands.test",
)  # fmt: skip
NOT_WARM = {"asyncio", "jinja2", "pydantic", "rich", "subprocess", "tomllib", "typer", "urllib3"}


@pytest.mark.parametrize("module", WARM)
def test_what_a_command_imports_first_is_light(module: str):
    probe = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    found = NOT_WARM & set(done.stdout.split())
    assert not found, "import it in the function that uses it"


BAKING = "devbox.images.baker", "devbox.images.worker_jobs", "devbox.images.bake.steps", "devbox.images.bake.bootstrap"


@pytest.mark.parametrize("module", BAKING)
def test_a_bake_without_a_registry_loads_no_http(module: str):
    """In the worker and in devbox itself, that took longer than a step."""
    probe = f"import sys, {module}; print('urllib3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n", "import it in the function that uses it"


@pytest.mark.parametrize("name", ["state", "types"])
def test_named_tuples_of_the_hot_path_have_no_deferred_annotations(name: str):
    """`typing` compiles each deferred annotation when its class is created: 1 ms of `ps`."""
    text = (ROOT / f"devbox/isolation/{name}.py").read_text()
    assert "from __future__ import annotations" not in text
