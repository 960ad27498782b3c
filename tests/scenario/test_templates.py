"""Each template of an application: from `init` through the tests and a build to its first stage, as its README says."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from support.machine import Box, wait_until

pytestmark = [
    pytest.mark.scenario,
    pytest.mark.long,
    pytest.mark.parametrize("box", ["root-crun", "user-crun"], indirect=True),
]

# Text of the page that the application serves at /.
PAGES = {
    "go-web": "Hello, world!",
    "java-web": "Hello, world!",
    "monorepo": "<h1>Notes</h1>",
    "node-web": "It runs",
    "php-web": "It runs",
    "python-web": "It runs",
    "rust-web": "Hello, world!",
}


def fetch(address: str, form: dict[str, str] | None = None) -> str:
    data = urllib.parse.urlencode(form).encode() if form else None
    with urllib.request.urlopen(address, data, timeout=20) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize("template", PAGES)
def test_an_application_is_developed_tested_and_promoted(box: Box, template: str):
    project = box.from_template(template)
    box.ok("up", cwd=project)
    assert PAGES[template] in fetch(box.ok("open", cwd=project).strip())
    if "\n[test]" in (project / "devbox.toml").read_text():
        cells = box.json("test", cwd=project)["cells"]
        assert {cell["state"] for cell in cells} == {"passed"}
        assert len(cells) > 1
    release = box.json("build", cwd=project)["release"]
    staged = box.json("promote", "staging", cwd=project)
    assert staged["release"] == release
    assert PAGES[template] in fetch(staged["address"])
    denied = box.run("promote", "production", cwd=project)
    assert denied.returncode == 1, "the soak of a minute is not over"
    assert b"soak staging" in denied.stderr


def test_the_front_end_of_the_monorepo_is_built_on_every_save_and_tested(box: Box):
    project = box.from_template("monorepo")
    box.ok("up", cwd=project)
    address = box.ok("open", cwd=project).strip()
    page = project / "web/src/index.html"
    page.write_text(page.read_text().replace("<h1>Notes</h1>", "<h1>My notes</h1>"))
    wait_until(lambda: "<h1>My notes</h1>" in fetch(address), what="the new page")
    assert "pass 1" in box.ok("tool", "npm", "test", cwd=project)


def test_an_order_of_the_shop_goes_through_the_queue_into_the_database(box: Box):
    project = box.from_template("shop")
    box.ok("up", cwd=project)
    address = box.ok("open", cwd=project).strip()
    assert json.loads(fetch(f"{address}/orders", {"product": "tea", "quantity": "2"}))["total"] == 500
    assert "3.20" in box.ok("run", "order", "coffee", cwd=project)
    wait_until(lambda: json.loads(fetch(f"{address}/orders"))["processed"] == 2, what="the second order")
    assert "2 x tea: 5.00" in box.ok("logs", "worker", cwd=project)
    promote_shop(box, project)


def promote_shop(box: Box, project: Path) -> None:
    """The release enters test by its tests and staging by its signature, and waits for approval and soak time."""
    (project / "keys").mkdir()
    for name in ("builder", "approver"):
        (project / f"keys/{name}.pub").write_text(box.ok("key", "create", name, "--no-passphrase", cwd=project))
    box.ok("build", cwd=project)
    assert box.run("promote", "test", cwd=project).returncode == 1
    box.ok("test", "--against", "release", cwd=project)
    for stage in ("test", "staging"):
        assert "Release 1.0." in fetch(box.json("promote", stage, cwd=project)["address"])
    box.ok("approve", "gray", cwd=project)
    verdicts = {
        row["subject"]: row["verdict"] for row in json.loads(box.run("why", "gray", "--json", cwd=project).stdout)
    }
    assert verdicts.pop("approval") == "pass"
    assert verdicts.pop("soak staging") in ("pending", "pass")
    for name in ("builder", "approver"):
        box.ok("key", "rm", "-y", name, cwd=project)


def test_the_library_is_tested_with_each_version(box: Box):
    project = box.from_template("python-lib")
    cells = box.json("test", cwd=project)["cells"]
    assert {cell["name"]: cell["state"] for cell in cells} == dict.fromkeys(
        ["python=3.11", "python=3.13", "python=3.14"], "passed"
    )
