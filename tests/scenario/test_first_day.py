"""Small projects of different kinds, as a new user writes them: each comes up and is reachable from outside."""

from __future__ import annotations

import shutil
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import pexpect
import pytest
from support.machine import Box

pytestmark = pytest.mark.scenario

PROJECTS = Path(__file__).parent / "projects"


def taken_up(box: Box, name: str) -> Path:
    """A copy of a project, brought up."""
    project = box.project("", name)
    shutil.copytree(PROJECTS / name, project, dirs_exist_ok=True)
    box.adopt(project)
    box.ok("up", cwd=project)
    return project


def address(box: Box, project: Path) -> str:
    return box.ok("open", cwd=project).strip()


def ask(url: str, data: str | None = None) -> str:
    with urllib.request.urlopen(url, None if data is None else data.encode(), timeout=10) as answer:
        return answer.read().decode()


def say(box: Box, project: Path, line: str, *, answer: str, container: str = "dev") -> None:
    """Type a line into `devbox shell` and wait for an answer."""
    program, *words = box.argv("shell", container)
    shell = pexpect.spawn(program, words, cwd=project, env=box.environment({"TERM": "xterm"}), timeout=20)
    shell.sendline(f"{line}; exit 3")
    shell.expect_exact(answer)
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 3


def test_flask_with_mariadb(box: Box):
    project = taken_up(box, "guestbook")
    url = address(box, project)
    ask(url, "Was here")
    assert "Was here" in ask(url)
    assert box.ok("run", "count", cwd=project) == "1\n"
    say(box, project, "flask --app app count", answer="1\r\n")


def test_node_with_redis(box: Box):
    project = taken_up(box, "shortener")
    url = address(box, project)
    path = ask(url, f"{url}/there")
    with pytest.raises(HTTPError, match="404") as missed:
        ask(url + path)
    assert missed.value.url == f"{url}/there", "it was led there"
    missed.value.close()
    say(box, project, "node -p 'process.env.REDIS_URL'", answer="redis://links:6379/0")


def test_a_python_library(box: Box):
    project = taken_up(box, "slugs")
    assert "1 passed" in box.ok("run", "test", cwd=project)
    say(box, project, "python -c 'import slugs; print(slugs.slug(\"A B\"))'", answer="a-b")


def test_a_static_site(box: Box):
    project = taken_up(box, "site")
    url = address(box, project)
    assert "We are open." in ask(url)
    (project / "public/index.html").write_text("closed\n")
    assert ask(url) == "closed\n"
    say(box, project, "cat /srv/www/index.html", answer="closed", container="web")


def test_a_go_program(box: Box):
    project = taken_up(box, "fortune")
    url = address(box, project)
    assert ask(f"{url}/ann") == ask(f"{url}/ann")
    assert "ok" in box.ok("run", "test", cwd=project)
    say(box, project, "go version", answer="go1.24")
