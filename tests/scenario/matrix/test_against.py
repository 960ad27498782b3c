"""`devbox test --against release`: tests run on the release's image, and the gate accepts the result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.machine import Box

from devbox.model.ids import compute_instance_id

pytestmark = [pytest.mark.scenario, pytest.mark.long]

FILE = """
[project]
name = "shipped"

[vars]
content = "one"
level = "low"

[base.os]
recipe = "debian"

[image]
from = "os"
run = ["echo ${content} > /version"]

[image.process.prepare]
kind = "job"
command = "echo ready"

[image.process.web]
command = "exec perl -e '$SERVER'"
ports = [8000]

[test]
from = "os"
run = ["echo tools > /opt/dependency"]
command = "./check ${level}"
release = "MODE"
release_env = { DEPENDENCY = "/run/devbox/tests/opt/dependency" }

[test.matrix]
content = ["one", "two"]
level = ["low", "high"]

[stage.test]
gates = [{ kind = "tests" }]
"""

SERVER = (
    "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 8000, Listen => 5, ReuseAddr => 1) or die; "
    "while (my $c = $s->accept) { print $c `cat /version`; close $c }"
)

INSIDE = """#!/bin/sh
set -e
echo "in $DEVBOX_CELL"
grep one /version
test ! -e /opt/dependency
grep tools "$DEPENDENCY"
! touch /run/devbox/tests/opt/mine 2>/dev/null
test "$1" != failing
"""

CLIENT = """#!/bin/sh
set -e
test ! -e /version
grep tools /opt/dependency
test "$WEB_URL" = http://web:8000
perl -e 'use IO::Socket::INET; my $s = IO::Socket::INET->new("web:8000") or die; print <$s>' | grep one
"""


def project(box: Box, mode: str, check: str) -> Path:
    server = SERVER.replace('"', '\\\\"')
    path = box.project(FILE.replace("MODE", mode).replace("$SERVER", server), "shipped", {"check": check})
    (path / "check").chmod(0o755)
    return path


@pytest.mark.parametrize(("mode", "check"), [("inside", INSIDE), ("client", CLIENT)])
def test_the_gate_opens_by_tests_of_the_very_image(box: Box, mode: str, check: str):
    path = project(box, mode, check)
    release = box.json("build", cwd=path)
    assert [each["verdict"] for each in box.json("why", "test", cwd=path)].count("pending") == 1

    # What the file makes now is something else; what is under test is not.
    text = (path / "devbox.toml").read_text()
    (path / "devbox.toml").write_text(text.replace('content = "one"', 'content = "three"'))
    done = box.run("test", "--against", "release", "--json", cwd=path)
    assert done.returncode == 0, done.stderr.decode()
    cells = json.loads(done.stdout)["cells"]
    assert [cell["name"] for cell in cells] == ["content=three,level=low", "content=three,level=high"], "one image"
    assert {cell["state"] for cell in cells} == {"passed"}
    place = box.home / "projects" / compute_instance_id(str(path), "devbox.toml")
    run = json.loads((place / "tests/released/run.json").read_text())["run"]
    assert run["release"] == release["digest"]
    if mode == "inside":
        assert {cell["image"] for cell in run["cells"]} == {release["digest"]}
    assert not [each for each in box.json("why", "test", cwd=path) if each["verdict"] in ("fail", "pending")]
    assert box.ps(path) == {}

    again = box.run("test", "--against", release["release"][:20], "--json", cwd=path)
    assert {cell["state"] for cell in json.loads(again.stdout)["cells"]} == {"cached"}


def test_a_failure_closes_the_gate(box: Box):
    path = project(box, "inside", INSIDE.replace("failing", "high"))
    box.json("build", cwd=path)
    assert box.run("test", "--against", "release", cwd=path).returncode == 1
    (failed,) = [each for each in box.json("why", "test", cwd=path) if each["verdict"] == "fail"]
    assert "level=high" in failed["reason"]


SET_UP = """
[project]
name = "setup"

[base.os]
recipe = "debian"

[dev]
from = "os"
setup = { run = ["cat wanted > /opt/installed", "mkdir -p modules && cp wanted modules"], inputs = ["wanted"] }

[image]
from = "os"
run = ["echo > /released"]

[test]
from = "dev"
command = "./check"
release = "MODE"
release_env = { ROOT = "/run/devbox/tests" }
retries = 1
"""

LOOKS = """#!/bin/sh
set -e
test "$(cat modules/wanted)" = tools
test "$(cat "$ROOT/opt/installed")" = tools
test -z "$ROOT" || test ! -e /opt/installed
test ! -e left; touch left
case "$PATH" in *:$ROOT/bin*) ;; *) test -z "$ROOT" ;; esac
"""


def test_tests_of_dev_are_set_up_as_dev_is(box: Box):
    path = box.project(SET_UP.replace("MODE", "inside"), "setup", {"check": LOOKS, "wanted": "tools\n"})
    (path / "check").chmod(0o755)

    def cells(*flags: str) -> list[tuple[str, str]]:
        done = box.run("test", "--json", *flags, cwd=path)
        return [(cell["state"], cell["reason"]) for cell in json.loads(done.stdout)["cells"]]

    box.json("build", cwd=path)
    assert cells()[0][0] == "passed"
    assert cells()[0][0] == "cached"
    assert cells("--against", "release")[0][0] == "passed", "the setup is beside the release, not in it"

    (path / "check").write_text(LOOKS + "exit 1\n")
    assert cells("--against", "release") == [("failed", "exit code 1")], "and again on a retry, in a new container"
    file = path / "devbox.toml"
    file.write_text(file.read_text().replace("inside", "client").replace("/run/devbox/tests", ""))
    (path / "check").write_text(LOOKS)
    assert cells("--against", "release")[0][0] == "passed"
    file.write_text(file.read_text() + "setup = { run = [] }\n")
    assert cells()[0][0] == "failed", "it may be left out"
    assert not (path / "modules").exists()
