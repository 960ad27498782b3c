"""Hostile env files and images: each fault is one error, and links cannot escape a container."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machine import Box, wait_until

pytestmark = pytest.mark.scenario

DEBIAN = '[dev]\nrecipe = "debian"\n'
NAMES = {
    "container, separator": ('[dev]\nrecipe = "debian"\n[service."a/b"]\nrecipe = "redis"\n', 3),
    "container, dots": ('[dev]\nrecipe = "debian"\n[service.".."]\nrecipe = "redis"\n', 3),
    "container, dash": ('[dev]\nrecipe = "debian"\n[service.-rf]\nrecipe = "redis"\n', 3),
    "container, substitution": ('[dev]\nrecipe = "debian"\n[service."$(id)"]\nrecipe = "redis"\n', 3),
    "container, line end": ('[dev]\nrecipe = "debian"\n[service."a\\nb"]\nrecipe = "redis"\n', 3),
    "container, long": (f'[dev]\nrecipe = "debian"\n[service.{"a" * 300}]\nrecipe = "redis"\n', 3),
    "base, dots": (DEBIAN + '[base."../x"]\nrecipe = "debian"\n', 3),
    "task, dash": (DEBIAN + '[tasks]\n--help = "x"\n', 4),
    "volume, separator": (DEBIAN + 'volumes = { "a/b" = "/x" }\n', 3),
    "volume, dots": (DEBIAN + 'volumes = { ".." = "/x" }\n', 3),
    "volume, dash": (DEBIAN + 'volumes = { "-x" = "/x" }\n', 3),
    "volume, long": (DEBIAN + f'volumes = {{ {"a" * 300} = "/x" }}\n', 3),
    "volume's place, dots": (DEBIAN + 'volumes = { a = "/x/../.." }\n', 3),
    "mount, dots": (DEBIAN + 'mounts = ["../..:/x"]\n', 3),
    "variable": (DEBIAN + 'env = { "A=B" = "x" }\n', 3),
    "port": (DEBIAN + 'ports = ["80;id"]\n', 3),
    "recipe, dots": ('[dev]\nrecipe = "../../etc/passwd"\n', 2),
    "recipe's parameter": ('[dev]\nrecipe = "python"\nwith = { version = "3.12; id" }\n', 3),
    "project": ('[project]\nname = "../x"\n' + DEBIAN, 2),
}
# One of each way into a shell, a command line, a template or a terminal; and what makes two lines of one.
LINE = "-x --y $(touch {marks}/1)`touch {marks}/2`';touch {marks}/3;'\";touch {marks}/4;\"&&touch {marks}/5"
LINE += "|tee {marks}/6 %s %d \\ {{{{ 7*7 }}}} {{% x %}} \x1b[2J\x1b]0;x\x07"
LINES = "x\ntouch {marks}/7\nruntime={marks}/8\r\n-x"
NAME = "$(touch here)`touch here`;touch here' \" &&-x"
MOUNTED = "-x $(touch here);`touch here`'\"&|,:\\"
PLACES = {"workdir": "/tmp/{}", "tmpfs": "/t{}", "volume": "/v{}", "source": "d/{}", "target": "/{}/x"}
INJECTED = """
vars = {{ v = {line} }}
[project]
name = "injected"
description = {lines}
[dev]
recipe = "debian"
command = ["echo", {line}]
env = {{ A = {line}, B = {lines}, C = "${{v}}" }}
env_files = ["settings"]
secrets = {{ D = "env:HOSTILE" }}
needs = {{ job = {{ E = "E" }}, other = {{ E = "F" }} }}
workdir = {workdir}
tmpfs = [{tmpfs}]
volumes = {{ data = {volume} }}
mounts = [{{ source = {source}, target = {target} }}]
health = {{ command = ["test", "-n", {line}] }}
profiles = []
[dev.setup]
run = [["test", "-n", {line}]]
inputs = [{source}]
[service.job]
recipe = "debian"
kind = "job"
command = ["test", "-n", {line}]
exports = {{ E = {line} }}
[service.other]
recipe = "debian"
kind = "job"
command = ["test", "-n", {lines}]
exports = {{ E = {line} }}
[tasks]
t = ["echo", {line}]
"""
READING = (("plan",), ("config",), ("config", "--origin"), ("ps",), ("ps", "--json"), ("trust", "--show"))
FILES = {
    "not UTF-8": (b'[dev]\nrecipe = "d\xff"\n', "devbox.toml:2", "UTF-8"),
    "NUL": (b'[dev]\nrecipe = "d\0"\n', "devbox.toml:2", "binary"),
    "large": (DEBIAN.encode() + b"#" * (10 << 20), "devbox.toml:1", "larger than 4 MiB"),
    "deep": (DEBIAN.encode() + b"x = " + b"[" * 1000 + b"]" * 1000, "devbox.toml:", ""),
    "deep keys": (DEBIAN.encode() + b".".join([b"a"] * 1000) + b" = 1\n", "devbox.toml:1", "nested"),
    "deep tables": (b"[" + b".".join([b"a"] * 1000) + b"]\nx = 1\n", "devbox.toml:1", ""),
    "a key twice": (DEBIAN.encode() + b'recipe = "python"\n', "devbox.toml:3", ""),
    "a table twice": (DEBIAN.encode() * 2, "devbox.toml:3", ""),
}


def refused(box: Box, *words: str, cwd: Path) -> str:
    """devbox's error for a refused file: a few lines, no traceback."""
    done = box.run(*words, cwd=cwd)
    said = done.stderr.decode()
    assert done.returncode == 2, said
    assert not done.stdout
    assert "Traceback" not in said
    assert len(said.splitlines()) <= 12
    assert said.replace("\n", "").isprintable()
    return said


@pytest.mark.parametrize("name", NAMES)
def test_invalid_names(box: Box, name: str) -> None:
    text, line = NAMES[name]
    said = refused(box, "up", cwd=box.project(text))
    assert said.startswith(f"devbox: devbox.toml:{line}: "), said


@pytest.mark.parametrize("name", FILES)
def test_invalid_files(box: Box, name: str) -> None:
    raw, where, why = FILES[name]
    project = box.project(DEBIAN)
    (project / "devbox.toml").write_bytes(raw)
    said = refused(box, "up", cwd=project)
    (project / "devbox.toml").write_text(DEBIAN)
    assert said.startswith(f"devbox: {where}"), said
    assert why in said


@pytest.fixture
def marks() -> Iterator[Path]:
    """A directory of the host in which any user could leave a file."""
    place = Path(tempfile.mkdtemp(prefix="devbox-marks-"))
    place.chmod(0o777)
    yield place
    shutil.rmtree(place)


def test_strings_stay_strings_from_the_file_to_the_container(box: Box, marks: Path) -> None:
    """Every string that a running container is made from, and the project's own name, tries to run something here."""
    line = LINE.format(marks=marks)
    lines = LINES.format(marks=marks)
    strings = {"line": line, "lines": lines, **{name: path.format(MOUNTED) for name, path in PLACES.items()}}
    text = INJECTED.format(**{name: json.dumps(string) for name, string in strings.items()})
    project = box.project(text, name=NAME, files={"settings": f"G={line}\n", f"d/{MOUNTED}": "of the project"})
    secret = f"{line} and more"  # else the line would be left out of the log
    said = [box.run("up", cwd=project, env={"HOSTILE": secret})]
    assert said[0].returncode == 0, said[0].stderr.decode()
    inside = box.ok("exec", "--", "cat", "/proc/self/environ", cwd=project).split("\0")
    for name in "ABCDEFG":
        assert f"{name}={ {'B': lines, 'D': secret}.get(name, line) }" in inside
    assert box.ok("exec", "--", "cat", f"/{MOUNTED}/x", cwd=project) == "of the project"
    assert box.ok("exec", "--", "pwd", cwd=project) == f"/tmp/{MOUNTED}\n"
    assert box.ok("run", "t", cwd=project) == f"{line}\n"
    wait_until(lambda: line in box.ok("logs", "dev", cwd=project), what="the command's words in the log")
    said += [box.run(*words, cwd=project, env={"HOSTILE": secret}) for words in READING]
    box.ok("restart", cwd=project, env={"HOSTILE": secret})
    box.ok("down", "-v", cwd=project)
    assert not list(marks.iterdir())
    for done in said:
        assert b"\x1b" not in done.stdout + done.stderr, done.args


def test_links_to_projects_and_out_of_them(box: Box) -> None:
    """A project is the same by any path to it; its links lead nowhere in a container. A mark and CRLF are fine."""
    project = box.project(DEBIAN)
    secret = project.parent / "secret"
    secret.write_text("of the host")
    (project / "way").symlink_to(secret)
    (project / "up").symlink_to("..")
    (project / "devbox.toml").unlink()
    (project / "real.toml").write_bytes(b"\xef\xbb\xbf" + DEBIAN.replace("\n", "\r\n").encode())
    (project / "devbox.toml").symlink_to("real.toml")
    link = project.parent / "link"
    link.symlink_to(project)
    box.ok("up", cwd=link)
    for words in (("-C", str(link)), ("-C", f"{link}/../link/./"), ("-f", f"{link}//devbox.toml")):
        assert box.ok(*words, "exec", "dev", "--", "echo", "here", cwd=Path("/")) == "here\n"
    for path in ("way", "up/secret"):
        done = box.run("exec", "dev", "--", "cat", path, cwd=project)
        assert done.returncode != 0
        assert b"of the host" not in done.stdout
    assert box.run("-C", "/dev/null", "up", cwd=project).returncode == 2
    assert box.run("-f", "/dev/null", "up", cwd=project).returncode == 2


def test_issue9_a3_a_pipe_in_the_place_of_passwd_holds_nothing_up(any_box: Box) -> None:
    """crun gets all values that it would look up there, also at a restart; runc is not tested at a restart."""
    project = any_box.project(DEBIAN)
    any_box.ok("up", cwd=project)
    home = any_box.ok("exec", "--", "sh", "-c", "echo $HOME", cwd=project)
    assert home == "/root\n"
    for name in ("passwd", "group"):
        any_box.ok("exec", "--", "sh", "-c", f"rm /etc/{name}; mkfifo /etc/{name}", cwd=project)
        if any_box.runtime == "runc":
            failed = any_box.run("exec", "--", "true", cwd=project, timeout=10)
            assert failed.returncode == 125
            assert b"expected a regular file" in failed.stderr
            return
    for words in ((), ("--user", "0"), ("--user", "12:34")):
        any_box.ok("exec", *words, "--", "true", cwd=project, timeout=10)
    any_box.ok("restart", "dev", cwd=project, timeout=40)
    assert any_box.ok("exec", "--", "sh", "-c", "echo $HOME", cwd=project, timeout=10) == home
