"""Build the documentation site into site/: `make docs`.

Pages are copied to a scratch directory first: those of docs/, and those of the project outside it. Links between files
of the repository become links between pages, and every page is in the navigation.
"""

from __future__ import annotations

import argparse
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODULES = ROOT / ".venv/npm/node_modules"
# Scripts that the theme would load from a network: Mermaid, and workers for pages of file://.
SCRIPTS = {"mermaid.js": "@mermaid-js/tiny/dist/mermaid.tiny.js", "iframe-worker.js": "iframe-worker/shim/index.js"}
_SHIM = "https://unpkg.com/iframe-worker/shim"

# File of the repository → page of the site.
INCLUDED = {
    "README.md": "index.md",
    "README.zh-CN.md": "zh/index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "devbox.toml.example": "reference/example.md",
    "docs/reference/devbox.schema.json": "reference/devbox.schema.json",
}
_EXAMPLE = "# devbox.toml with every key\n\n```toml\n{text}```\n"

# Sections of the navigation: title, directory of their pages, the first pages in order. Others follow by title.
SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Start here", "", ("index.md", "getting-started.md", "tutorial.md", "patterns.md", "glossary.md")),
    ("How-to", "how-to", ("how-to/install-devbox.md", "how-to/own-project.md")),
    ("Coming from", "coming-from", ("coming-from/compose.md", "coming-from/dev-containers.md")),
    ("Reference", "reference", ("reference/cli.md", "reference/env-file.md", "reference/example.md")),
    ("Explanation", "explanation", ("architecture.md",)),
    ("Decisions", "adr", ("adr/README.md",)),
    ("Project", "project", ()),
    ("中文", "zh", ("zh/index.md", "zh/tutorial.md", "zh/patterns.md", "zh/gray.md")),
)

_FENCE = re.compile(r"^(```+|~~~+).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(\]\(|\b(?:src|href|srcset)=\")([^)\s\"]+)")
_DIAGRAM = re.compile(r'<pre class="mermaid">.*?</pre>', re.DOTALL)
_DIRECTIVE = re.compile(r"^<!-- test: .*?-->\n", re.MULTILINE | re.DOTALL)


class SiteError(Exception):
    """The sources of the site are invalid."""


def list_pages() -> dict[str, Path]:
    """Return the source of each file of the site by its path in the site's sources."""
    docs = ROOT / "docs"
    files = {str(path.relative_to(docs)): path for path in docs.rglob("*") if path.is_file()}
    return files | {page: ROOT / source for source, page in INCLUDED.items()}


def stage(directory: Path) -> dict[str, Path]:
    """Write the sources of the site; return the same as `list_pages`."""
    pages = list_pages()
    for page, source in pages.items():
        target = directory / page
        target.parent.mkdir(parents=True, exist_ok=True)
        if page.endswith(".md"):
            target.write_text(convert_page(page, source, pages))
        else:
            shutil.copyfile(source, target)
    (directory / "assets").mkdir()
    for name, path in SCRIPTS.items():
        if not (MODULES / path).exists():
            raise SiteError(f"missing {MODULES / path}\n  → make docs")
        shutil.copyfile(MODULES / path, directory / "assets" / name)
    for name in ("site.css", "site.js"):
        shutil.copyfile(ROOT / "packaging" / name, directory / "assets" / name)
    return pages


def convert_page(page: str, source: Path, pages: dict[str, Path]) -> str:
    """Return the text of a page without directives of tests, with links between pages."""
    text = source.read_text()
    if source.suffix != ".md":
        return _EXAMPLE.format(text=text)
    here = str(source.parent.relative_to(ROOT))

    def convert(match: re.Match[str]) -> str:
        return match[1] + _convert_link(match[2], here, page, pages)

    return "".join(
        part if is_code else _LINK.sub(convert, _DIRECTIVE.sub("", part)) for is_code, part in _split_fences(text)
    )


def _split_fences(text: str) -> Iterator[tuple[bool, str]]:
    at = 0
    for fence in _FENCE.finditer(text):
        yield False, text[at : fence.start()]
        yield True, fence[0]
        at = fence.end()
    yield False, text[at:]


def _convert_link(link: str, here: str, page: str, pages: dict[str, Path]) -> str:
    """Return the link for `page`, whose source is in the directory `here` of the repository."""
    path, hash_, anchor = link.partition("#")
    if not path or re.match(r"[a-z]+:|/", path):
        return link
    target = posixpath.normpath(posixpath.join(here, path))
    if (ROOT / target).is_dir():
        target += "/README.md"
    found = INCLUDED.get(target) or target.removeprefix("docs/")
    if found not in pages:
        raise SiteError(f"{page}: the link {link} leads to no file of the site")
    return posixpath.relpath(found, posixpath.dirname(page) or ".") + hash_ + anchor


def build_navigation(pages: dict[str, Path]) -> list[dict[str, list[str]]]:
    """Return the sections with all pages. SiteError for a page in a directory without a section."""
    left = {page: source for page, source in pages.items() if page.endswith(".md")}
    sections = {title: [page for page in first if left.pop(page, None)] for title, _, first in SECTIONS}
    for title, directory, _ in SECTIONS:
        own = [page for page in left if (page.split("/")[0] if "/" in page else "") == directory]
        sections[title] += sorted(own, key=lambda page: _get_sort_key(page, pages[page]))
    listed = {page for own in sections.values() for page in own}
    if missing := {page for page in pages if page.endswith(".md")} - listed:
        raise SiteError(f"not in the navigation: {', '.join(sorted(missing))}\n  → SECTIONS of packaging/build_site.py")
    return [{title: own} for title, own in sections.items() if own]


def _get_sort_key(page: str, source: Path) -> tuple[str, str]:
    """Decisions by number, other pages by title."""
    if page.startswith("adr/") or source.suffix != ".md":
        return page, ""
    lines = source.read_text().splitlines()
    return next((line[2:] for line in lines if line.startswith("# ")), page).lower(), page


def build(out: Path) -> None:
    """Build the site into `out`, replacing it."""
    with tempfile.TemporaryDirectory(prefix="devbox-site-") as scratch:
        pages = stage(Path(scratch, "docs"))
        nav = json.dumps(build_navigation(pages), ensure_ascii=False)
        settings = f"docs_dir: docs\nsite_dir: site\nnav: {nav}\n"
        Path(scratch, "mkdocs.yml").write_text(f"{(ROOT / 'mkdocs.yml').read_text()}\n{settings}")
        argv = (sys.executable, "-m", "zensical", "build", "--strict", "--clean")
        done = subprocess.run(argv, cwd=scratch, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            raise SiteError(f"{done.stdout}{done.stderr}\nzensical exited with code {done.returncode}")
        for path in Path(scratch, "site").rglob("*.html"):
            path.write_text(
                _use_own_scripts(path.read_text(), assets=os.path.relpath(Path(scratch, "site/assets"), path.parent))
            )
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(Path(scratch, "site"), out)


def _use_own_scripts(text: str, *, assets: str) -> str:
    """Load scripts from the site instead of a network, Mermaid on pages with diagrams only; let diagrams scroll."""
    text = text.replace(_SHIM, f"{assets}/iframe-worker.js")
    if _DIAGRAM.search(text):
        text = _DIAGRAM.sub(r'<div class="diagram" tabindex="0" role="group" aria-label="diagram">\g<0></div>', text)
        text = text.replace("</head>", f'<script defer src="{assets}/mermaid.js"></script></head>', 1)
    return text


def main() -> int:
    """Build into site/, or another directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "site")
    try:
        build(parser.parse_args().out)
    except SiteError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
