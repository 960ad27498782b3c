"""`devbox hook` in real shells: change directories and compare the shell's environment."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from support.machine import lacking
from support.terminals import sized

pytestmark = pytest.mark.scenario

BIN = Path(sys.executable).parent
FILE = """
[dev]
recipe = "debian"
needs = ["db"]
[service.db]
recipe = "postgres"
ports = ["15432:5432"]
"""
START = {
    "bash": (["--norc", "--noprofile", "-i"], 'eval "$(devbox hook bash)"'),
    "zsh": (["-f", "-i"], 'eval "$(devbox hook zsh)"'),
    "fish": (["--no-config", "-i"], "devbox hook fish | source"),
}
# devbox itself, which leaves a mark each time that it is started.
COUNTING = f"""#!/bin/sh
echo "$1" >> "$COUNT"
exec {BIN}/devbox "$@"
"""
PLAIN = {"PS1": "> ", "PROMPT": "> ", "fish_greeting": ""}


class Shell:
    """An interactive shell with the hook."""

    def __init__(self, name: str, place: Path) -> None:
        words, load = START[name]
        self.count, self.told = place / "count", place / "told"
        known = {key: value for key, value in os.environ.items() if not key.startswith(("DEVBOX_", "PG"))}
        home = {
            "HOME": str(place),
            "DEVBOX_HOME": str(place / "state"),
            "DEVBOX_CONFIG": str(place / "config"),
            "COUNT": str(self.count),
            "TERM": "dumb",
        }
        env = {**known, **PLAIN, **home, "PGUSER": "it's me", "PATH": f"{place}/bin:{os.environ['PATH']}"}
        self.name = name
        self._child = pexpect.spawn(name, words, cwd=str(place), env=env, **sized(40, 400), timeout=60, encoding="utf8")
        self.do(load)

    def line(self, line: str) -> None:
        """Type a line."""
        self._child.sendline(line)

    def do(self, line: str) -> None:
        """Type a line, and wait for it and the next prompt's work."""
        self.line(line)
        self.line("echo do''ne")
        self._child.expect("done")

    def tell(self, name: str) -> str:
        """A variable as programs that the shell starts see it; "-" where it is not set."""
        self.do(f"sh -c 'printenv {name} || echo -' > {self.told}")
        return self.told.read_text().rstrip("\n")

    def starts(self) -> int:
        """The number of devbox starts to set up the shell."""
        return self.count.read_text().split().count("__activate") if self.count.exists() else 0

    def close(self) -> None:
        self._child.close(force=True)


@pytest.fixture(params=START)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shell]:
    if shutil.which(request.param) is None:
        lacking(f"{request.param} is not installed")
    (tmp_path / "shop/deep").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "shop/devbox.toml").write_text(FILE)
    (tmp_path / "bin/devbox").write_text(COUNTING)
    (tmp_path / "bin/devbox").chmod(0o755)
    made = Shell(request.param, tmp_path)
    yield made
    made.close()


def test_a_project_sets_the_shell_up_once_allowed_and_leaving_restores_it(shell: Shell, tmp_path: Path):
    before = {name: shell.tell(name) for name in ("PATH", "PGUSER", "PGPORT", "DATABASE_URL")}
    assert before["DATABASE_URL"] == "-"
    shell.do("cd shop")
    assert {name: shell.tell(name) for name in before} == before, "not allowed yet"

    shell.do("devbox trust")
    assert (shell.tell("PGPORT"), shell.tell("PGHOST"), shell.tell("PGUSER")) == ("15432", "127.0.0.1", "app")
    started = shell.starts()
    shell.do("cd deep")
    shell.do("true")
    assert shell.tell("PGPORT") == "15432"
    assert shell.starts() == started, "within a project nothing is started"

    shell.do("cd ../../other")
    assert {name: shell.tell(name) for name in before} == before
    started = shell.starts()
    shell.do("cd ..")
    shell.do("true")
    assert shell.starts() == started, "outside of projects nothing is started"

    shell.do("cd shop")
    assert shell.tell("PGPORT") == "15432"
    (tmp_path / "shop/devbox.toml").write_text(FILE.replace('recipe = "postgres"', 'recipe = "redis"'))
    shell.do("cd ..")
    shell.do("cd shop")
    assert {name: shell.tell(name) for name in (*before, "REDIS_URL")} == before | {"REDIS_URL": "-"}, "it is another"


def test_what_the_last_command_came_to_is_kept(shell: Shell):
    shell.line("cd shop")
    shell.line("false")
    shell.line(f"echo ${'status' if shell.name == 'fish' else '?'} > {shell.told}")
    shell.do("true")
    assert shell.told.read_text() == "1\n"
