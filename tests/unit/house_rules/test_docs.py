"""The documents agree with the code."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from support import manual_commands, manual_env_file, manual_recipes
from unit.house_rules.source import ROOT, each

from devbox.envfile import schema
from devbox.envfile.document import Document

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_the_reference_of_the_command_line_is_the_program_s_own():
    written = (ROOT / "docs/reference/cli.md").read_text()
    assert written == manual_commands.render_manual(), "make reference"


def test_the_reference_of_the_recipes_is_their_own():
    written = (ROOT / "docs/reference/recipes.md").read_text()
    assert written == manual_recipes.render_manual(), "make reference"


def test_the_reference_of_the_env_file_is_the_models_own():
    written = (ROOT / "docs/reference/env-file.md").read_text()
    assert written == manual_env_file.render_manual(), "make reference"


def test_the_reference_of_the_env_file_has_every_table():
    assert set(schema.list_tables(Document)) <= set(manual_env_file.SECTIONS)


def test_the_published_schema_is_the_program_s_own():
    written = json.loads((ROOT / "docs/reference/devbox.schema.json").read_text())
    assert written == schema.build_json_schema(), "make reference"


def test_issue9_b11_no_table_of_the_reference_is_called_unused():
    assert "not used yet" not in (ROOT / "docs/reference/env-file.md").read_text()


def test_issue9_b11_templates_name_commands_that_there_are():
    text = "".join(path.read_text() for path in (ROOT / "templates").rglob("devbox.toml"))
    assert "until `devbox" not in text
    assert (
        "default: the newest"
        not in (ROOT / "docs/reference/cli.md").read_text().partition("### release revoke")[2][:600]
    )


def test_every_program_that_set_up_installs_is_justified():
    setup = (ROOT / ".ci/setup.sh").read_text()
    desired = {word for packages in re.findall(r"_packages=\(([^)]*)\)", setup) for word in packages.split()}
    page = (ROOT / "docs/explanation/dependencies.md").read_text()
    named = {name for cell in re.findall(r"^\| ([^|]+?) \|", page, re.MULTILINE) for name in re.split(r"[*, ]+", cell)}
    assert desired - named == set()


def test_every_dependency_is_justified():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    desired = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    page = (ROOT / "docs/explanation/dependencies.md").read_text()
    assert not [name for line in desired if f"**{(name := re.split('[<>=]', line)[0])}**" not in page]


@each(PAGES)
def test_links_and_named_files_exist(page: Path):
    text = page.read_text()
    links = {link for link in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", text) if not link.startswith("http")}
    assert not [link for link in links if not (page.parent / link).exists()]
    files = set(re.findall(r"`((?:devbox|docs|tests|recipes|templates)/[\w./-]+)`", text))
    if "adr" not in page.parts:  # a decision names files as they were when it was made
        assert not [name for name in files if "NAME" not in name and not (ROOT / name).exists()]


def test_named_tests_exist():
    page = (ROOT / "docs/explanation/host-access.md").read_text()
    missing = []
    for name, function in set(re.findall(r"`(test_\w+\.py)(?:::(\w+))?", page)):
        texts = [path.read_text() for path in (ROOT / "tests").rglob(name)]
        if not any(f"def {function}" in text for text in texts):
            missing.append(f"{name}::{function}")
    assert not missing


def test_every_decision_is_listed():
    page = (ROOT / "docs/adr/README.md").read_text()
    decisions = sorted((ROOT / "docs/adr").glob("0*.md"))
    titles = {path.name: path.read_text().partition("\n")[0].partition(". ")[2] for path in decisions}
    assert not [name for name, title in titles.items() if f"[{name[:4]} {title}]({name})" not in page]
