"""Checks of `doctor`: each finding names the command that repairs it, and no damaged state raises."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from devbox.doctor import host, storage
from devbox.doctor.checks import OK, PROBLEM, WARNING, CheckContext, CheckResult
from devbox.doctor.examine import check_oci_runtime, check_programs, check_project, examine
from devbox.host.paths import Paths
from devbox.model.ids import compute_instance_id
from devbox.records.host_key import HostKey


def project(directory: Path, text: str) -> tuple[str, str]:
    directory.mkdir()
    (directory / "devbox.toml").write_text(text)
    return os.path.realpath(directory), "devbox.toml"


def only(findings: list[CheckResult], check: str) -> CheckResult:
    (found,) = [finding for finding in findings if finding.check == check]
    return found


def test_every_finding_has_a_remedy_and_no_leftovers_remain(paths, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    found = list(examine(CheckContext(paths, offline=True)))
    assert all(finding.remedy for finding in found if finding.state != OK)
    assert all("\n" not in finding.sentence for finding in found)
    assert not [finding for finding in found if finding.check == "mirror"], "offline leaves the network alone"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_program_names_its_package(paths, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("devbox.host.programs._SYSTEM_PATH", str(tmp_path))
    found = list(check_programs(CheckContext(paths)))
    assert {finding.state for finding in found} == {PROBLEM}
    assert only(found, "pasta").remedy == "sudo apt-get install passt"


def test_a_missing_runtime_is_reported_with_its_variable(paths, monkeypatch):
    monkeypatch.setenv("DEVBOX_RUNTIME", "no-such-runtime")
    (found,) = check_oci_runtime(CheckContext(paths))
    assert found.state == PROBLEM
    assert "DEVBOX_RUNTIME" in found.sentence


def test_runc_alone_is_runtime_enough(paths, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("devbox.host.programs._SYSTEM_PATH", "")
    monkeypatch.delenv("DEVBOX_RUNTIME", raising=False)
    assert only(list(check_oci_runtime(CheckContext(paths))), "OCI runtime").remedy == "sudo apt-get install crun"
    (tmp_path / "runc").write_text("")
    (tmp_path / "runc").chmod(0o755)
    found = [*check_programs(CheckContext(paths)), *check_oci_runtime(CheckContext(paths))]
    assert only(found, "OCI runtime").state == OK
    assert not [finding for finding in found if finding.check == "crun"]


def test_a_fixed_port_that_another_program_has_names_it(paths, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        context = CheckContext(paths, project(tmp_path / "app", f'[dev]\nrecipe = "debian"\nports = ["{port}:80"]\n'))
        found = only(list(check_project(context)), "ports")
    assert found.state == PROBLEM
    assert f"(pid {os.getpid()})" in found.sentence
    assert "ports = [80]" in found.remedy


def test_a_broken_file_is_a_finding(paths, tmp_path):
    (found,) = check_project(CheckContext(paths, project(tmp_path / "app", "[dev]\nrecipe = 5\n")))
    assert found.state == PROBLEM
    assert found.sentence.startswith("devbox.toml:2: ")


def test_the_file_is_looked_at_without_writing_anything(paths, tmp_path):
    root, file = project(tmp_path / "app", '[dev]\nrecipe = "debian"\n[service.db]\nrecipe = "postgres"\n')
    (found,) = check_project(CheckContext(paths, (root, file)))
    assert found.state == OK
    assert not os.path.exists(paths.project(compute_instance_id(root, file)))


def test_a_home_that_is_a_file_or_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    (found,) = storage.check_home(CheckContext(Paths(str(tmp_path / "file"), "/run")))
    assert (found.state, "DEVBOX_HOME" in found.remedy) == (PROBLEM, True)


def test_the_key_of_this_host_is_looked_at_where_there_is_one(paths):
    assert list(storage.check_host_key(CheckContext(paths))) == []
    HostKey(paths).prepare()
    (found,) = storage.check_host_key(CheckContext(paths))
    assert (found.state, paths.config in found.sentence) == (OK, True)
    os.chmod(f"{paths.config}/host.key", 0o644)
    (found,) = storage.check_host_key(CheckContext(paths))
    assert (found.state, "chmod 600" in found.remedy) == (PROBLEM, True)


def test_an_id_map_is_tried_where_the_project_lies(paths, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root maps ids of mounts")
    found = list(host.check_idmapped_mounts(CheckContext(paths, ("/proc", "devbox.toml"))))
    assert [finding.state for finding in found] == [OK, PROBLEM]


def test_a_mirror_that_does_not_answer(paths, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = f"http://127.0.0.1:{server.getsockname()[1]}"
    for name in ("DEBIAN", "UBUNTU"):
        monkeypatch.setenv(f"DEVBOX_MIRROR_{name}", closed)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    found = list(host.check_mirrors(CheckContext(paths)))
    assert [finding.state for finding in found] == [PROBLEM, WARNING]
    assert "refused" in found[0].sentence
    assert "DEVBOX_MIRROR_DEBIAN" in found[0].remedy


@pytest.mark.parametrize("off", [-3600, 3600])
def test_a_clock_that_is_off(off):
    (found,) = host._check_clock([off, off + 1])
    assert found.state == PROBLEM
    assert "60 min" in found.sentence


def test_a_proxy_is_shown_without_its_password(paths, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy.corp:3128")
    found = [finding for finding in host.check_host_settings(CheckContext(paths)) if finding.check == "proxy"]
    assert "proxy.corp:3128" in found[0].sentence
    assert "secret" not in found[0].sentence


def test_a_ca_file_that_is_not_there(paths, monkeypatch):
    monkeypatch.setenv("DEVBOX_CA_FILE", "/nowhere/ca.pem")
    assert next(host.check_host_settings(CheckContext(paths))).state == PROBLEM


@pytest.mark.parametrize(
    ("release", "uid", "state", "remedy"),
    [
        ("5.19.0-1-amd64", 0, OK, ""),
        ("5.15.0-91-generic", 0, PROBLEM, "as an ordinary user"),
        ("5.15.0-91-generic", 1000, OK, ""),
        ("5.10.0-26-amd64", 0, PROBLEM, "upgrade"),
        ("5.10.0-26-amd64", 1000, PROBLEM, "upgrade"),
    ],
)
def test_the_minimum_kernel_depends_on_the_user(paths, monkeypatch, release: str, uid: int, state: str, remedy: str):
    uname = os.uname_result(("Linux", "host", release, "1", "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: uname)
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    (finding,) = host.check_version(CheckContext(paths))
    assert finding.state == state
    assert remedy in finding.remedy
