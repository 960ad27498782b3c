"""Remedies about keys can be pasted: they name existing files and are valid for `rm` and the shell."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devbox.errors import HostError, SigningError, UsageError
from devbox.host.paths import Paths
from devbox.records import keyring
from devbox.records.host_key import HostKey
from devbox.records.keyring import KeyStore


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "home"), str(tmp_path / "run"), str(tmp_path / "config"))


def test_issue10_an_open_directory_without_a_key_is_only_closed(paths: Paths):
    os.makedirs(paths.config)
    os.chmod(paths.config, 0o755)
    with pytest.raises(HostError) as caught:
        HostKey(paths).check()
    assert "may be compromised" not in str(caught.value)
    assert caught.value.remedy == f"chmod 700 {paths.config}"


def test_issue10_an_open_directory_has_its_key_replaced_not_itself(paths: Paths):
    HostKey(paths).prepare()
    os.chmod(paths.config, 0o755)
    with pytest.raises(HostError) as caught:
        HostKey(paths).check()
    assert f"rm {paths.config}/host.key, then devbox release rebuild" in caught.value.remedy


def test_issue10_a_missing_public_key_is_exported_into_a_directory_that_exists(tmp_path: Path):
    with pytest.raises(SigningError) as caught:
        keyring.read(str(tmp_path), builders={"ci": "keys/ci.pub"}, approvers={})
    assert caught.value.remedy.startswith("mkdir -p keys && devbox key export NAME > keys/ci.pub")
    with pytest.raises(SigningError) as caught:
        keyring.read(str(tmp_path), builders={"ci": "ci.pub"}, approvers={})
    assert caught.value.remedy.startswith("devbox key export NAME > ci.pub")


def test_issue10_the_first_key_is_created_by_the_name_that_was_asked_for(paths: Paths):
    with pytest.raises(UsageError) as caught:
        KeyStore(paths).find("ci")
    assert caught.value.remedy == "devbox key create ci"
