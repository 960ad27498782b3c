"""`docs`: serve the documentation site of this version on 127.0.0.1, and open it in the browser.

Pages also work from file://, but browsers in snaps and Flatpaks cannot read the directories of packages, and a port can
be forwarded from a remote host.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import io
import os
import re
import sys
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO

from devbox.cli import browser, terminal
from devbox.commands.table.index import ALIASES, list_commands
from devbox.commands.table.options import Args
from devbox.errors import DevboxError, UsageError
from devbox.host import environ

INDEX = "index.html"
# Directories of pages: a name is the page of the first directory that has it.
_ORDER = ("", "how-to", "reference", "explanation", "project", "zh", "adr")
_COMMANDS = "reference/cli.html"
_LOOPBACK = "127.0.0.1"
_NAMES = (_LOOPBACK, "localhost", "[::1]")  # also of a forwarded port


class _Handler(SimpleHTTPRequestHandler):
    """Serves the files of the site, and nothing else, without printing requests."""

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """See `SimpleHTTPRequestHandler`. Other host names are those of web pages that resolve to this host."""
        if self._find_host() not in _NAMES:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return None
        if not self._is_page():
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def _find_host(self) -> str:
        return re.sub(r":\d+$", "", self.headers.get("Host") or _LOOPBACK).lower()

    def _is_page(self) -> bool:
        """True for a file below the site, and a directory with an index; links must not lead out of the site."""
        path = self.translate_path(self.path)
        if "\0" in path:
            return False
        real, site = os.path.realpath(path), os.path.realpath(self.directory)
        inside = os.path.commonpath([real, site]) == site
        return inside and (os.path.isfile(real) or os.path.isfile(f"{real}/{INDEX}"))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        """See `BaseHTTPRequestHandler`."""


def docs(args: Args) -> int:
    """Serve the site until Ctrl-C, or print its directory."""
    site = find_site()
    page = find_page(site, args.get_text("topic"))
    if args.get_flag("path"):
        print(os.path.join(site, page) if args.get_text("topic") else site)
        return 0
    with _listen(site, args.get_number("port") or 0) as server:
        url = f"http://{_LOOPBACK}:{server.server_port}/{page}"
        print(url, flush=True)
        if sys.stdout.isatty():
            terminal.print_line("· Ctrl-C ends the server")
            browser.show(url)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


def find_site() -> str:
    """Return the directory of the built site. DevboxError if it is missing."""
    site = environ.find_data_dir("site")
    if os.path.exists(f"{site}/{INDEX}"):
        return site
    checkout = os.path.dirname(site)
    if os.path.exists(f"{checkout}/mkdocs.yml"):
        raise DevboxError("the documentation is not built yet", remedy=f"make -C {checkout} docs")
    raise DevboxError(
        "this installation has no documentation",
        remedy="install a wheel or a package of a release: those built from a repository have no documentation",
    )


def find_page(site: str, topic: str) -> str:
    """Return the page about a topic: the name of a page, with or without its directory, or of a command.

    UsageError if unknown.
    """
    if not topic:
        return INDEX
    pages = _list_pages(site)
    words = topic.removesuffix(".html").removesuffix(".md").lower()
    for name in (words, words.replace(" ", "-")):
        if page := pages.get(name):
            return page
    command = ALIASES.get(words, words)
    if command in list_commands():
        return f"{_COMMANDS}#{command.replace(' ', '-')}"
    near = difflib.get_close_matches(words, pages, n=1)
    raise UsageError(f"the documentation has no page {topic}", remedy=f"devbox docs{f' {near[0]}' if near else ''}")


def list_topics(site: str) -> list[str]:
    """Return the names of all pages, without decisions."""
    return sorted(name for name, page in _list_pages(site).items() if "/" not in name and not page.startswith("adr/"))


def _list_pages(site: str) -> dict[str, str]:
    """Return the pages by name, such as `cli`, and by name with directory, such as `reference/cli`."""
    found: dict[str, str] = {}
    for directory in _ORDER:
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(os.path.join(site, directory))):
                stem, kind = os.path.splitext(name)
                if kind == ".html" and stem != "404":
                    page = os.path.join(directory, name)
                    found.setdefault(stem, page)
                    found[os.path.join(directory, stem)] = page
    return found


def _listen(site: str, port: int) -> ThreadingHTTPServer:
    try:
        return ThreadingHTTPServer((_LOOPBACK, port), functools.partial(_Handler, directory=site))
    except OSError as error:
        raise DevboxError(
            f"cannot listen on {_LOOPBACK}:{port}: {error.strerror}", remedy="devbox docs, without --port"
        ) from error
