"""A role is one file and one table line: a copy of devbox with an additional role."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.machine import REPOSITORY, Box

pytestmark = [pytest.mark.scenario, pytest.mark.as_root]

LINE = '    "toy:ROLE",\n'
LAST = '    "glue:ROLE",\n'
ROLE = '''
"""`[toy.NAME]`: a container that says a word."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.model.container import ContainerSpec
from devbox.model.image import ImageSpec
from devbox.roles.role import ExpansionContext, split_label
from devbox.roles.fields import Model, Text
from devbox.roles.images import finish_image
from devbox.roles.recipes import Recipe
from devbox.roles.role import Role, Start


class ToyTable(Model):
    """Schema of `[toy.NAME]`."""

    base: Text
    """Name of the table that the image is based on."""
    word: Text = "hello"
    """Word to say."""


class ToyRole(Role[ToyTable]):
    """`[toy.NAME]`, started by `devbox up`."""

    name = "toy"
    table = ToyTable
    about = "Containers that say a word."
    named = True
    start = Start.UP
    needed = True

    def image(self, table: ToyTable, label: str, context: ExpansionContext) -> ImageSpec:
        """Return the image: the base, with the word in a file."""
        parent = context.image(context.images[table.base])
        spec = ImageSpec(name=label, parent=parent.name, steps=(), config=parent.config)
        return finish_image(spec, run=(("sh", "-c", 'echo "$1" > /word', "sh", table.word),))

    def container(self, table: ToyTable, label: str, context: ExpansionContext) -> ContainerSpec:
        """Return the container."""
        return ContainerSpec(
            name=context.names[label],
            label=label,
            role=self.name,
            image=label,
            command=("sh", "-c", "cat /word; exec sleep infinity"),
            where=context.where(split_label(label)),
        )

    def exports(self, table: ToyTable, label: str, context: ExpansionContext) -> dict[str, str]:
        """Return the word and the name of the container."""
        return {"WORD": table.word, "HOST": context.names[label]}

    def list_export_names(self, table: ToyTable, recipes: Mapping[str, Recipe]) -> tuple[str, ...]:
        """Return the names of `exports`."""
        return ("WORD", "HOST")


ROLE = ToyRole()
'''.lstrip()
FILE = """
[base.os]
recipe = "debian"

[dev]
from = "os"
needs = { parrot = { WORD = "PARROT_WORD", HOST = "PARROT_HOST" } }

[toy.parrot]
base = "os"
word = "ahoy"
"""


@pytest.fixture
def toy_box(box: Box, tmp_path: Path) -> Iterator[Box]:
    """A box that runs a copy of devbox with one more file, and one more line."""
    shutil.copytree(REPOSITORY / "devbox", tmp_path / "devbox", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "recipes", tmp_path / "recipes")
    shutil.copy(REPOSITORY / "devbox.toml.example", tmp_path)
    (tmp_path / "devbox/roles/toy.py").write_text(ROLE)
    catalog = tmp_path / "devbox/roles/catalog.py"
    text = catalog.read_text()
    assert text.count(LAST) == 1
    catalog.write_text(text.replace(LAST, LAST + LINE))
    made = replace(box, variables={**box.variables, "PYTHONPATH": str(tmp_path)})
    yield made
    made.clear()  # with the role: its own list of projects is that of `box`


def test_a_role_is_one_file_and_one_line(toy_box: Box):
    box = toy_box
    project = box.project(FILE)
    box.ok("up", cwd=project)

    row = box.ps(project)["parrot"]
    assert (row["role"], row["state"]) == ("toy", "running")
    assert box.ok("exec", "parrot", "--", "cat", "/word", cwd=project) == "ahoy\n"
    seen = box.ok("exec", "dev", "--", "sh", "-c", 'echo "$PARROT_WORD"; getent hosts "$PARROT_HOST"', cwd=project)
    assert seen.startswith("ahoy\n"), "the exports of a need are variables"
    assert "parrot" in seen, "its name is a host name"
    assert "ahoy" in box.ok("logs", "parrot", cwd=project)
    assert box.json("plan", cwd=project) == {"steps": []}

    env_file = project / "devbox.toml"
    env_file.write_text(FILE.replace('"ahoy"', '"arr"'))
    steps = {(step["op"], step["resource"]) for step in box.json("plan", cwd=project)["steps"]}
    assert ("replace", "parrot") in steps, "what the table says reaches image and plan"
    box.ok("up", cwd=project)
    assert box.ok("exec", "dev", "--", "printenv", "PARROT_WORD", cwd=project) == "arr\n"
    assert box.ok("exec", "parrot", "--", "cat", "/word", cwd=project) == "arr\n"


def test_its_keys_are_checked_and_described(toy_box: Box):
    project = toy_box.project(FILE.replace("word =", "words ="))
    said = toy_box.run("up", cwd=project).stderr.decode()
    assert "unknown key `words` in [toy.parrot]; did you mean word?" in said

    (project / "devbox.toml").write_text(FILE.replace("WORD =", "WORT ="))
    assert "parrot does not export WORT; did you mean WORD?" in toy_box.run("up", cwd=project).stderr.decode()

    schema = json.loads(toy_box.ok("config", "--schema", cwd=project))
    assert schema["properties"]["toy"]["description"] == "Containers that say a word."
    assert set(schema["$defs"]["ToyTable"]["properties"]) == {"base", "word"}

    argv = [sys.executable, "-c", "from support import manual_env_file as made; print(made.render_manual())"]
    env = toy_box.environment()
    env["PYTHONPATH"] += f":{REPOSITORY}/tests"
    page = subprocess.run(argv, env=env, cwd=project, capture_output=True, text=True, check=True)
    assert "## [toy.NAME]\n\n- **`base`** (string, required)" in page.stdout


def test_without_the_table_line_the_env_table_is_unknown(box: Box):
    project = box.project(FILE)
    assert "unknown key `toy`" in box.run("up", cwd=project).stderr.decode()
