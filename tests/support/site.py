"""The built documentation site: its links, and its pages in Chromium, checked with axe-core."""

from __future__ import annotations

import functools
import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / ".venv/npm/node_modules"
CHROMIUM = Path("/usr/bin/chromium")
_LINKS = {"a": "href", "link": "href", "img": "src", "script": "src", "iframe": "src", "source": "srcset"}


class _Links(HTMLParser):
    """Collects the links and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := values.get(name))}
        if (link := values.get(_LINKS.get(tag, ""))) and values.get("rel") != "canonical":
            self.links.append(link)


def find_dead_links(site: Path) -> list[str]:
    """Return "PAGE: LINK" for each link to a missing file or anchor, and for each resource of another host."""
    pages = {path: _Links(path.read_text()) for path in sorted(site.rglob("*.html"))}
    return [
        f"{path.relative_to(site)}: {link}"
        for path, page in pages.items()
        if path.name != "404.html"  # its links are absolute, for any depth
        for link in page.links
        if not _is_alive(link, path, pages)
    ]


def _is_alive(link: str, path: Path, pages: dict[Path, _Links]) -> bool:
    parts = urlsplit(link)
    if parts.scheme:
        return parts.scheme in ("http", "https", "mailto", "data")
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not parts.fragment or target.suffix != ".html":
        return target.exists()
    anchor = unquote(parts.fragment)
    return target in pages and (anchor in pages[target].anchors or anchor.startswith("__"))


@contextmanager
def serve(site: Path) -> Iterator[str]:
    """Serve a site on loopback; yield its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def visit(site: Path, pages: list[str], *, shots: list[dict[str, Any]], query: str) -> dict[str, Any]:
    """Visit pages in both color schemes; return the document of `site_check.cjs`.

    Keys: violations (serious and critical ones of axe-core), outside (requests that leave the site), errors (of
    scripts), overflow (pages wider than their window), found (results of the search, over HTTP and for files).
    """
    with serve(site) as base:
        job = {
            "modules": str(MODULES),
            "chromium": str(CHROMIUM),
            "base": base,
            "pages": pages,
            "shots": shots,
            "query": query,
            "searches": [base, f"{site.as_uri()}/"],
        }
        argv = ["node", str(ROOT / "tests/support/site_check.cjs"), json.dumps(job)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def format_violations(violations: list[dict[str, str]]) -> str:
    """Format violations with everything needed to fix them."""
    return "\n\n".join(
        f"{each['page']}: {each['rule']} ({each['impact']})\n  {each['target']}\n  {each['html']}\n  {each['summary']}"
        for each in violations
    )
