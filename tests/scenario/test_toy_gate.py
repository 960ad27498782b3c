"""A gate is one file and one table line: a copy of devbox with an additional gate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import staged
from support.machine import Box
from support.toys import add_plugin

pytestmark = [pytest.mark.scenario, pytest.mark.as_root]

GATE = '''
"""Gate `word`: a file of the project has a word."""

from __future__ import annotations

from typing import ClassVar, Literal

from devbox.envfile.gate_tables import GateTable
from devbox.host import safe_files
from devbox.model.frozen import dataclass
from devbox.model.plan import PASS, PENDING, Verdict
from devbox.model.stage import Gate
from devbox.promotion.gates.context import GateContext
from devbox.roles.fields import Text


class WordGateTable(GateTable):
    """Requires a word in a file of the project."""

    kind: Literal["word"]
    """Kind of the gate."""
    file: Text
    """File of the project."""
    word: Text = "go"
    """Required word."""


@dataclass(frozen=True, kw_only=True)
class WordGate(Gate):
    """`file`, a path below the project, contains `word`."""

    op: ClassVar[str] = "word"
    file: str
    word: str
    expires: float | None = None


def judge(gate: WordGate, context: GateContext) -> Verdict:
    """Pass if the file contains the word."""
    text = safe_files.read_text(context.instance.root, gate.file)
    if text is None:
        return Verdict(subject=gate.op, verdict=PENDING, reason=f"{gate.file} not found")
    if gate.word not in text.split():
        return Verdict(subject=gate.op, verdict=PENDING, reason=f"{gate.file} does not contain {gate.word}")
    return Verdict(subject=gate.op, verdict=PASS, reason=f"{gate.file} contains {gate.word}")
'''.lstrip()
LAST = '    "command": GateKind(f"{_MODEL}:CommandGate", f"{_TABLES}:CommandGateTable", f"{_GATES}.command:judge"),\n'
LINE = '    "word": GateKind(f"{_GATES}.word:WordGate", f"{_GATES}.word:WordGateTable", f"{_GATES}.word:judge"),\n'
FILE = (
    'stages = ["test"]\n'
    + staged.FILE.partition("[stage.staging]")[0]
    + """
[stage.test]
env = { LEVEL = "test" }
replicas = { web = 1, worker = 0 }
gates = [{ kind = "word", file = "decision", word = "ship" }]
"""
)


@pytest.fixture
def toy_box(box: Box, tmp_path: Path) -> Iterator[Box]:
    """A box with a toy gate."""
    made = add_plugin(
        box,
        tmp_path,
        file="devbox/promotion/gates/word.py",
        text=GATE,
        table="devbox/model/gate_kinds.py",
        after=LAST,
        line=LINE,
    )
    yield made
    made.clear()


def test_a_gate_is_one_file_and_one_line(toy_box: Box):
    box, path = toy_box, staged.project(toy_box, FILE)
    decision = path / "decision"
    made = staged.built(box, path, "1")
    (said,) = (each for each in box.json("why", "test", cwd=path) if each["subject"] == "word")
    assert (said["verdict"], said["reason"]) == ("pending", "decision not found")

    decision.write_text("wait\n")
    (said,) = (each for each in box.json("why", "test", cwd=path) if each["subject"] == "word")
    assert (said["verdict"], said["reason"]) == ("pending", "decision does not contain ship")
    denied = box.run("promote", "test", cwd=path)
    assert denied.returncode == 1
    assert "decision does not contain ship" in denied.stderr.decode()
    assert box.json("ps", "--stage", "test", cwd=path) == []

    decision.write_text("ship\n")
    moved = box.json("promote", "test", cwd=path)
    assert (moved["release"], moved["digest"], moved["changed"]) == (made["release"], made["digest"], True)
    digests = {row["digest"] for row in box.json("ps", "--stage", "test", cwd=path) if row["name"].startswith("web-")}
    assert digests == {made["digest"]}
    box.ok("down", "-v", "--stage", "test", "--confirm", "test", cwd=path)


def test_its_keys_are_checked_and_described(toy_box: Box):
    path = staged.project(toy_box, FILE.replace("word = ", "words = "))
    said = toy_box.run("config", cwd=path).stderr.decode()
    assert "unknown key `words` in [stage.test.gates]" in said

    (path / "devbox.toml").write_text(FILE)
    schema = toy_box.json("config", "--schema", cwd=path)
    assert schema["$defs"]["WordGateTable"]["description"] == "Requires a word in a file of the project."


def test_without_the_table_line_the_gate_is_unknown(box: Box):
    path = staged.project(box, FILE)
    assert "invalid kind in [stage.test] gates (number 1): " in box.run("config", cwd=path).stderr.decode()
