"""Secrets are fetched when a container starts, or the error says which one is missing."""

from __future__ import annotations

import os

import pytest
from support.builders import container

from devbox.envfile.secrets import fetch, host_access
from devbox.errors import DevboxError


def test_from_the_environment_from_files_and_from_commands(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", "t")
    (tmp_path / "key").write_text("k\n")
    references = {"A": "env:SHOP_TOKEN", "B": "file:key", "C": "cmd:echo from $PWD"}
    assert fetch(references, root=str(tmp_path), where="") == {"A": "t", "B": "k", "C": f"from {tmp_path}"}


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("env:NOT_SET_ANYWHERE", "NOT_SET_ANYWHERE is not set"),
        ("file:nothing", "there is no file"),
        ("file:empty", "is empty"),
        ("file:.", "can't be read"),
        ("file:binary", "not UTF-8"),
        ("cmd:echo no >&2; exit 3", "ended with 3"),
        ("cmd:true", "printed nothing"),
    ],
)
def test_a_missing_one_is_named(tmp_path, reference, why):
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(b"\xff")
    with pytest.raises(DevboxError, match="the secret A is missing") as caught:
        fetch({"A": reference}, root=str(tmp_path), where="devbox.toml:1")
    assert why in caught.value.sentence
    assert caught.value.where == "devbox.toml:1"
    assert caught.value.remedy


def test_a_failing_command_shows_its_complaint_and_never_its_output(tmp_path):
    with pytest.raises(DevboxError) as caught:
        fetch({"A": "cmd:echo half-a-password; echo locked >&2; exit 1"}, root=str(tmp_path), where="")
    told = caught.value.render().replace(caught.value.remedy, "").replace(caught.value.sentence, "")
    assert "locked" in told
    assert "half-a-password" not in told


def test_what_reaches_beyond_the_project(tmp_path):
    root = os.path.realpath(tmp_path)
    (tmp_path / "inside").touch()
    (tmp_path / "link").symlink_to("/etc/hostname")
    inside = {"A": "env:X", "B": "file:inside", "C": "file:not/there/yet"}
    outside = {"D": "cmd:pass show x", "E": "file:~/.netrc", "F": "file:../x", "G": "file:link"}
    found = host_access([container("dev", secrets=inside | outside)], root=root)
    assert {access.variable: access.reference for access in found} == outside
