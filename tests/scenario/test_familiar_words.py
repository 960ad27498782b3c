"""Every command of the table of familiar commands works, or its error names the command to type."""

from __future__ import annotations

import shlex

import pytest
from support.familiar import FILE, list_commands
from support.machine import Box
from support.registry import PASSWORD, Registry

pytestmark = pytest.mark.scenario


def test_the_table_is_long_enough():
    commands = list_commands()
    assert len({each.words for each in commands}) == len(commands) >= 120
    assert sum(not each.instead for each in commands) >= 90


def test_familiar_commands(box: Box, tmp_path_factory: pytest.TempPathFactory):
    place = tmp_path_factory.mktemp("familiar")
    registry = Registry(place, tls=False)
    wrong: list[str] = []
    try:
        project = box.project(FILE, "shop", {"in": "a\n"})
        variables = {"DOCKER_CONFIG": str(place / "docker")}
        for each in list_commands():
            words = shlex.split(each.words.format(registry=registry.host))
            done = box.run(*words, cwd=project, env=variables, input=f"{PASSWORD}\n".encode())
            output = (done.stdout + done.stderr).decode()
            if "Traceback" in output or "no such command" in output.splitlines()[-1:]:
                wrong.append(f"devbox {each.words}: {output}")
            elif each.instead and (done.returncode != 2 or each.instead not in output):
                wrong.append(f"devbox {each.words}: {done.returncode}, expected {each.instead!r}: {output}")
            elif not each.instead and each.code >= 0 and done.returncode != each.code:
                wrong.append(f"devbox {each.words}: {done.returncode}, expected {each.code}: {output}")
    finally:
        registry.close()
    assert not wrong, "\n".join(wrong)
