"""The OCI runtime's command line and its log."""

from __future__ import annotations

from pathlib import Path

import pytest

from devbox.isolation import oci


def test_the_global_flags_come_first():
    argv = oci.build_global_argv("/usr/bin/crun", "/r", "none", "/log")

    assert argv == [
        "/usr/bin/crun",
        "--root",
        "/r",
        "--log",
        "/log",
        "--log-format",
        "json",
        "--cgroup-manager=disabled",
    ]
    assert oci.build_global_argv("/usr/sbin/runc", "/r", "none") == ["/usr/sbin/runc", "--root", "/r"]
    assert oci.build_global_argv("/usr/bin/crun", "/r", "v2") == ["/usr/bin/crun", "--root", "/r"]


@pytest.mark.parametrize(("says", "crun"), [("crun version 1.21", True), ("runc version 1.1.15", False)])
def test_a_runtime_of_an_unknown_name_is_asked_once(tmp_path: Path, says: str, crun: object):
    asked, runtime = tmp_path / "asked", tmp_path / "traced"
    runtime.write_text(f'#!/bin/sh\necho "$*" >> {asked}\necho {says}\n')
    runtime.chmod(0o755)

    assert oci.is_crun(str(runtime)) is crun
    assert oci.is_crun(str(runtime)) is crun
    assert asked.read_text() == "--version\n"


def test_what_can_not_be_asked_is_not_crun(tmp_path: Path):
    assert not oci.is_crun(str(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("executable file `nope` not found in $PATH: No such file or directory", 127),
        ("open executable: No such file or directory", 127),
        ('exec: \\"nope\\": executable file not found in $PATH', 127),
        ("the path `/etc/passwd` exists but it is not executable: Operation not permitted", 126),
        ('exec: \\"/etc/passwd\\": permission denied', 126),
        ("exec: Exec format error", 126),
        ("the container is paused", 255),
    ],
)
def test_a_failure_of_the_runtime_is_distinguished_from_the_command_s(tmp_path: Path, said: str, code: int):
    log = tmp_path / "log"
    log.write_text(f'{{"msg": "warned", "level": "warning"}}\n{{"msg": "{said}", "level": "error"}}\n')

    assert oci.translate_exit_code(255, str(log)) == code


@pytest.mark.parametrize(("code", "seen"), [(0, 0), (7, 7), (255, 255), (1, 1), (-15, 143), (-9, 137)])
def test_a_commands_own_code_passes(tmp_path: Path, code: int, seen: int):
    assert oci.translate_exit_code(code, str(tmp_path / "none")) == seen


def test_groups_are_said_on_the_command_line_of_runc():
    argv = oci.build_exec_argv(["runc"], "a", ("id",), user="1:2", groups=(50, 109), cwd="/", pid_file="/pid")

    assert argv[-9:] == [
        "--additional-gids",
        "50",
        "--additional-gids",
        "109",
        "--detach",
        "--pid-file",
        "/pid",
        "a",
        "id",
    ]
