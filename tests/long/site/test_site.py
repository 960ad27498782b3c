"""The documentation site as readers get it: built strictly, without dead links, accessible, without network."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import site as sites
from support.machine import lacking

pytestmark = pytest.mark.long

# With code, wide tables, diagrams, long lists, pictures.
PAGES = [
    "index.html",
    "getting-started.html",
    "architecture.html",
    "how-to/gray.html",
    "how-to/install-devbox.html",
    "how-to/tests.html",
    "reference/cli.html",
    "reference/parity.html",
    "reference/example.html",
    "explanation/dependencies.html",
    "adr/0100-documentation-site.html",
    "project/contributing.html",
]
PICTURED = ["index.html", "architecture.html", "how-to/gray.html", "reference/cli.html"]
WIDTHS = (1280, 390)


@pytest.fixture(scope="module", autouse=True)
def _requirements() -> None:
    scripts = runpy.run_path(str(sites.ROOT / "packaging/build_site.py"))["SCRIPTS"].values()
    modules = [*scripts, "axe-core/axe.min.js", "playwright-core/package.json"]
    if missing := [name for name in modules if not (sites.MODULES / name).exists()]:
        lacking(f"npm packages are missing, make test-all installs them: {', '.join(missing)}")
    if not sites.CHROMIUM.exists() or not shutil.which("node"):
        lacking("chromium and nodejs are required")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    place = tmp_path_factory.mktemp("site") / "site"
    argv = [sys.executable, str(sites.ROOT / "packaging/build_site.py"), "--out", str(place)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return place


def test_every_link_and_anchor_exists(site: Path):
    assert not sites.find_dead_links(site)


def test_every_page_of_docs_is_a_page_of_the_site(site: Path):
    pages = {path.relative_to(sites.ROOT / "docs").with_suffix("") for path in (sites.ROOT / "docs").rglob("*.md")}
    built = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    renamed = {Path(page) for page in ("adr/README",)}
    assert pages - built - renamed == set()


def test_no_directive_of_a_test_is_visible(site: Path):
    assert not [path.name for path in site.rglob("*.html") if "<!-- test:" in path.read_text()]


def test_pages_are_accessible_searchable_and_load_nothing_from_elsewhere(site: Path, tmp_path: Path):
    shots = [
        {"page": page, "width": width, "file": str(tmp_path / f"{page.replace('/', '-')}-{width}.png")}
        for page in PICTURED
        for width in WIDTHS
    ]
    found = sites.visit(site, [page for page in PAGES if (site / page).exists()], shots=shots, query="matrix")
    assert not found["violations"], sites.format_violations(found["violations"])
    assert found["outside"] == []
    assert found["errors"] == []
    assert found["overflow"] == []
    for results in found["found"]:  # over HTTP, and from files
        assert any("/how-to/test" in link and "?h=" in link for link in results)
    assert all(Path(shot["file"]).stat().st_size > 10_000 for shot in shots)


def test_the_checks_find_what_they_look_for(tmp_path: Path):
    page = "<title>x</title><html lang=en><main><h1>x</h1><img src=a.png><a href=gone.html>y</a><a href=#no>z</a>"
    (tmp_path / "index.html").write_text(page)
    assert sites.find_dead_links(tmp_path) == ["index.html: a.png", "index.html: gone.html", "index.html: #no"]
    found = sites.visit(tmp_path, ["index.html"], shots=[], query="")
    assert {"image-alt"} <= {each["rule"] for each in found["violations"]}


def test_two_builds_are_identical(site: Path, tmp_path: Path):
    argv = [sys.executable, str(sites.ROOT / "packaging/build_site.py"), "--out", str(tmp_path / "again")]
    subprocess.run(argv, check=True, capture_output=True)
    first, second = (
        {p.relative_to(r): p.read_bytes() for p in r.rglob("*") if p.is_file()} for r in (site, tmp_path / "again")
    )
    assert [str(name) for name in first if first[name] != second.get(name)] == []
    assert first.keys() == second.keys()
