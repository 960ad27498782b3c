"""Secrets are fetched when a container starts, or the error says which one is missing."""

from __future__ import annotations

import pytest

from devbox.envfile.secrets import fetch
from devbox.errors import EngineError


def test_from_the_environment_and_from_files(tmp_path, monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", "t")
    (tmp_path / "key").write_text("k\n")
    references = {"A": "env:SHOP_TOKEN", "B": "file:key"}
    assert fetch(references, root=str(tmp_path), where="") == {"A": "t", "B": "k"}


@pytest.mark.parametrize("reference", ["env:NOT_SET_ANYWHERE", "file:nothing", "cmd:echo x"])
def test_a_missing_one_is_named(tmp_path, reference):
    with pytest.raises(EngineError, match="the secret A"):
        fetch({"A": reference}, root=str(tmp_path), where="devbox.toml:1")
