"""The entry point turns errors into messages and exit codes; no other exception escapes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from devbox.cli import main, parser
from devbox.commands.table.options import Args
from devbox.errors import CannotRun, EnvFileError
from devbox.host.version import VERSION


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    def fail(_args: Args) -> int:
        raise error

    monkeypatch.setattr(parser, "load_handler", lambda _command: fail)
    return main.run(["up"])


def test_version(capsys: pytest.CaptureFixture[str]):
    assert main.run(["--version"]) == 0
    assert capsys.readouterr().out == f"devbox {VERSION}\n"


def test_an_error_is_a_sentence_a_place_and_a_remedy(monkeypatch, capsys):
    error = EnvFileError("unknown key workspce", where="devbox.toml:4", remedy="did you mean workspace?")
    assert failing(monkeypatch, error) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines()[0] == "devbox: devbox.toml:4: unknown key workspce"
    assert "did you mean workspace?" in shown.err


@pytest.mark.parametrize(
    ("error", "code"), [(CannotRun("not up"), 125), (KeyboardInterrupt(), 130), (BrokenPipeError(), 141)]
)
def test_exit_codes(monkeypatch, capsys, error: BaseException, code: int):
    monkeypatch.setattr(main, "_drop_stdout", lambda: None)
    assert failing(monkeypatch, error) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_fault_of_devbox_is_one_sentence_and_a_trace_on_request(monkeypatch, capsys):
    assert failing(monkeypatch, RuntimeError("boom")) == 1
    shown = capsys.readouterr().err
    assert "RuntimeError: boom" in shown
    assert "DEVBOX_DEBUG=1" in shown
    assert "Traceback" not in shown
    monkeypatch.setenv("DEVBOX_DEBUG", "1")
    assert failing(monkeypatch, RuntimeError("boom")) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_closed_output_pipe_is_not_an_error():
    reader, writer = os.pipe()
    os.close(reader)
    argv = [sys.executable, "-m", "devbox", "--version"]
    done = subprocess.run(argv, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_without_a_project_the_error_names_init(tmp_path: Path):
    env = {**os.environ, "DEVBOX_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "devbox", "ps"], capture_output=True, text=True, cwd=tmp_path, env=env, check=False
    )
    assert done.returncode == 2
    assert "devbox init" in done.stderr
    assert done.stdout == ""
