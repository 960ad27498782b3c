"""Selection of the OCI runtime: by name, by path, and invalid ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.machine import lacking

from devbox.errors import HostError
from devbox.host import programs
from devbox.isolation import namespaces


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def refused(monkeypatch: pytest.MonkeyPatch, chosen: str) -> HostError:
    monkeypatch.setenv("DEVBOX_RUNTIME", chosen)
    with pytest.raises(HostError) as raised:
        namespaces.check_runtime()
    assert chosen in raised.value.sentence
    assert raised.value.remedy
    return raised.value


def test_a_wrapper_around_a_runtime_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    try:
        crun = programs.find("crun")
    except HostError as error:
        lacking(error.sentence)
    wrapper = script(tmp_path / "crun-traced", f'exec {crun} "$@"')
    monkeypatch.setenv("DEVBOX_RUNTIME", wrapper)

    assert namespaces.check_runtime() == wrapper


def test_an_invalid_runtime_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "plain").write_text("")

    assert "not an OCI runtime" in refused(monkeypatch, script(tmp_path / "yes", "echo yes")).sentence
    assert "not an OCI runtime" in refused(monkeypatch, script(tmp_path / "no", "exit 1")).sentence
    assert "not executable" in refused(monkeypatch, str(tmp_path / "plain")).sentence
    assert "not found" in refused(monkeypatch, str(tmp_path / "missing")).sentence
    assert refused(monkeypatch, "bin/crun").remedy.startswith("export DEVBOX_RUNTIME=/")


def test_runc_is_taken_where_crun_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("DEVBOX_RUNTIME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("devbox.host.programs._SYSTEM_PATH", "")
    runc = script(tmp_path / "runc", "")

    assert namespaces.find_runtime() == runc
