"""`devbox doctor --install`: the one command that installs missing packages."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devbox.cli import main
from devbox.doctor import packages
from devbox.doctor.checks import OK, PROBLEM, WARNING, CheckContext, CheckResult
from devbox.errors import HostError

RESULTS = [
    CheckResult("pasta", PROBLEM, "program pasta is not installed", "sudo apt-get install passt"),
    CheckResult("newuidmap", PROBLEM, "program newuidmap is not installed", "sudo apt-get install uidmap"),
    CheckResult("newgidmap", PROBLEM, "program newgidmap is not installed", "sudo apt-get install uidmap"),
    CheckResult("newgidmap", PROBLEM, "missing permission", "sudo chmod u+s /usr/bin/newgidmap"),
    CheckResult("buildah", WARNING, "program buildah is not installed", "sudo apt-get install buildah"),
    CheckResult("nft", OK, "/usr/sbin/nft"),
]


def test_packages_of_problems_are_missing_each_once():
    assert packages.list_missing(RESULTS) == ("passt", "uidmap")
    assert packages.list_missing(RESULTS, state=WARNING) == ("buildah",)


def test_the_command_is_one_line(paths, monkeypatch: pytest.MonkeyPatch):
    context = CheckContext(paths)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    commands = packages.build_commands(("passt",), context, has_lists=True)
    assert packages.format_commands(commands) == "sudo apt-get install --no-install-recommends passt"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    commands = packages.build_commands(("passt",), context, has_lists=False)
    assert packages.format_commands(commands) == "apt-get update && apt-get install --no-install-recommends passt"
    assert packages.add_yes(commands)[1] == ["apt-get", "--yes", "install", "--no-install-recommends", "passt"]


def test_a_host_without_apt_is_an_error_with_the_packages(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(HostError) as caught:
        packages.require_apt(("passt", "crun"))
    assert caught.value.remedy.endswith("passt crun")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host without programs, but with an apt-get that records its calls."""
    record = tmp_path / "called"
    for name, text in {"apt-get": f'#!/bin/sh\necho "$@" >> {record}\n', "sudo": '#!/bin/sh\nexec "$@"\n'}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DEVBOX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("devbox.host.programs._SYSTEM_PATH", "")
    monkeypatch.setattr(packages, "require_apt", lambda _: None)
    monkeypatch.setattr(packages, "has_package_lists", lambda: True)
    return record


def test_without_a_terminal_the_command_is_printed(bare: Path, capsys: pytest.CaptureFixture[str]):
    assert main.run(["doctor", "--install"]) == 0
    assert "apt-get install --no-install-recommends passt nftables mmdebstrap catatonit" in capsys.readouterr().out
    assert not bare.exists()


def test_yes_runs_it(bare: Path):
    assert main.run(["doctor", "--install", "-y"]) == 0
    assert bare.read_text().startswith("--yes install --no-install-recommends passt ")


def test_a_failed_command_is_an_error(bare: Path, capsys: pytest.CaptureFixture[str]):
    (bare.parent / "apt-get").write_text("#!/bin/sh\nexit 100\n")
    assert main.run(["doctor", "--install", "-y"]) == 1
    assert "exited with code 100" in capsys.readouterr().err


def test_install_conflicts_with_clean(capsys: pytest.CaptureFixture[str]):
    assert main.run(["doctor", "--install", "--clean"]) == 2
    assert "--clean conflicts with --install" in capsys.readouterr().err
