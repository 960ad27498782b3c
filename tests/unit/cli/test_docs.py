"""`devbox docs`: pages by topic, and the server."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from devbox.cli import docs, main
from devbox.errors import DevboxError, UsageError
from devbox.host import environ


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a built site."""
    place = tmp_path / "data/site"
    for name in ("index", "404", "how-to/gray", "explanation/gray", "how-to/tests", "reference/cli", "adr/0001-holder"):
        page = place / f"{name}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"<h1>{name}</h1>")
    monkeypatch.setattr(environ, "_PACKAGE", str(tmp_path))
    return place


@pytest.mark.parametrize(
    ("topic", "page"),
    [
        ("", "index.html"),
        ("tests", "how-to/tests.html"),
        ("gray", "how-to/gray.html"),
        ("explanation/gray", "explanation/gray.html"),
        ("how-to/tests.md", "how-to/tests.html"),
        ("0001-holder", "adr/0001-holder.html"),
        ("promote", "reference/cli.html#promote"),
        ("image ls", "reference/cli.html#image-ls"),
        ("images", "reference/cli.html#image-ls"),
    ],
)
def test_a_topic_is_a_page_or_a_command(site: Path, topic: str, page: str):
    assert docs.find_page(str(site), topic) == page


def test_an_unknown_topic_is_an_error_with_a_similar_page(site: Path):
    with pytest.raises(UsageError) as caught:
        docs.find_page(str(site), "testz")
    assert caught.value.remedy == "devbox docs tests"


def test_topics_for_completion_are_pages_without_decisions(site: Path):
    assert docs.list_topics(str(site)) == ["cli", "gray", "index", "tests"]


def test_the_path_is_printed_for_other_readers(site: Path, capsys: pytest.CaptureFixture[str]):
    assert main.run(["docs", "--path"]) == 0
    assert capsys.readouterr().out == f"{site}\n"
    assert main.run(["docs", "tests", "--path"]) == 0
    assert capsys.readouterr().out == f"{site}/how-to/tests.html\n"


def test_a_checkout_without_a_site_names_the_command_that_builds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(environ, "_PACKAGE", str(tmp_path / "devbox"))
    (tmp_path / "mkdocs.yml").touch()
    with pytest.raises(DevboxError) as caught:
        docs.find_site()
    assert caught.value.remedy == f"make -C {tmp_path} docs"


def test_an_installation_without_a_site_names_no_file_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(environ, "_PACKAGE", str(tmp_path / "devbox"))
    with pytest.raises(DevboxError) as caught:
        docs.find_site()
    assert "make" not in caught.value.remedy


_SERVE = """
import sys
from devbox.cli import main
from devbox.host import environ
environ._PACKAGE = sys.argv.pop(1)
main.main()
"""


def test_the_site_is_served_on_loopback_until_ctrl_c(site: Path):
    argv = [sys.executable, "-c", _SERVE, str(site.parents[1]), "docs", "tests"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout
        address = server.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address) as response:
            assert response.read() == b"<h1>how-to/tests</h1>"
        os.kill(server.pid, signal.SIGINT)
        assert server.wait(timeout=30) == 0
        assert server.stderr
        assert server.stderr.read() == ""


def test_only_pages_are_served_and_only_to_names_of_this_host(site: Path, capfd: pytest.CaptureFixture[str]):
    (site / "out.html").symlink_to("/etc/passwd")
    os.mkfifo(site / "fifo.html")
    (site / "empty").mkdir()
    page = "/how-to/tests.html"
    requests = [
        (page, "127.0.0.1:1", 200),
        (page, "LOCALHOST", 200),
        (page, "[::1]:80", 200),
        (page, "evil.example", 421),
        ("/", "localhost", 200),
        *((path, "localhost", 404) for path in ("/out.html", "/fifo.html", "/empty/", "/%00", "/../../etc/passwd")),
    ]
    with docs._listen(str(site), 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        found = []
        for path, host, _ in requests:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
            connection.request("GET", path, headers={"Host": host})
            found.append((path, host, connection.getresponse().status))
            connection.close()
        server.shutdown()
        thread.join()
    assert found == requests
    assert capfd.readouterr().err == ""


def test_a_used_port_is_an_error(site: Path):
    with docs._listen(str(site), 0) as taken, pytest.raises(DevboxError):
        docs._listen(str(site), taken.server_port)
