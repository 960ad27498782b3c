"""Credentials in Docker's format."""

from __future__ import annotations

import base64
import concurrent.futures
import json
import os
from pathlib import Path
from typing import Any

import pytest

from devbox.errors import DevboxError
from devbox.images.registry.credentials import Credentials, find_credentials, forget, store


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))

    def write(value: object) -> None:
        (tmp_path / "config.json").write_text(value if isinstance(value, str) else json.dumps(value))

    return write


def packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_no_configuration_means_no_credentials(config: Any):
    assert find_credentials("ghcr.io") is None


def test_names_are_those_of_docker_login(config: Any):
    auths = {"https://index.docker.io/v1/": {"auth": packed("hub:a:b")}, "ghcr.io": {"auth": packed("me:x")}}
    config({"auths": {**auths, "https://quay.io/v1/": {"identitytoken": "T"}, "empty.io": {}}})
    assert find_credentials("docker.io") == Credentials("hub", "a:b")
    assert find_credentials("ghcr.io") == Credentials("me", "x")
    assert find_credentials("quay.io") == Credentials(identity_token="T")
    assert find_credentials("empty.io") is None
    assert find_credentials("ghcr.io.evil.example") is None


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, '{"auths": 1}', '{"auths": {"a.io": {"auth": "%%%"}}}'])
def test_a_broken_configuration_is_named(config: Any, text: str):
    config(text)
    with pytest.raises(DevboxError, match=r"cannot parse .*config\.json"):
        find_credentials("a.io")


def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = tmp_path / "docker-credential-x"
    program.write_text(f"#!/bin/sh\nread -r host\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_a_helper_is_asked_by_host(config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    helper(tmp_path, monkeypatch, """echo '{"Username": "u", "Secret": "'$host'"}'""")
    config({"credHelpers": {"a.io": "x"}})
    assert find_credentials("a.io") == Credentials("u", "a.io")
    assert find_credentials("b.io") is None


def test_a_helper_may_keep_tokens_or_nothing(config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config({"credsStore": "x", "auths": {"b.io": {"auth": packed("u:p")}}})
    helper(tmp_path, monkeypatch, """echo '{"Username": "<token>", "Secret": "T"}'""")
    assert find_credentials("a.io") == Credentials(identity_token="T")
    helper(tmp_path, monkeypatch, "echo credentials not found in native keychain; exit 1")
    assert find_credentials("b.io") == Credentials("u", "p")


@pytest.mark.parametrize("script", ["exit 3", "echo no JSON"])
def test_a_failing_helper_is_named(config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str):
    helper(tmp_path, monkeypatch, script)
    config({"credsStore": "x"})
    with pytest.raises(DevboxError, match="docker-credential-x"):
        find_credentials("a.io")


def test_a_password_is_stored_and_removed_as_by_docker(config: Any, tmp_path: Path):
    config(
        {"auths": {"https://ghcr.io/v1/": {"auth": packed("old:x")}, "b.io": {"auth": packed("b:y")}}, "psFormat": "t"}
    )
    assert store("ghcr.io", Credentials("me", "p:w")) == str(tmp_path / "config.json")
    written = json.loads((tmp_path / "config.json").read_text())
    auths = {"b.io": {"auth": packed("b:y")}, "ghcr.io": {"auth": packed("me:p:w")}}
    assert written == {"auths": auths, "psFormat": "t"}
    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o600
    assert find_credentials("ghcr.io") == Credentials("me", "p:w")
    assert (forget("ghcr.io"), forget("ghcr.io")) == (True, False)
    assert find_credentials("b.io") == Credentials("b", "y")
    store("docker.io", Credentials("hub", "x"))
    assert find_credentials("docker.io") == Credentials("hub", "x")


def test_a_helper_stores_and_erases(config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kept = tmp_path / "kept"
    script = f"""case $1 in store) echo "$host" > {kept};; erase) rm {kept};; get) cat {kept} 2>/dev/null ||
    {{ echo credentials not found in native keychain; exit 1; }};; esac"""
    helper(tmp_path, monkeypatch, script)
    config({"credsStore": "x"})
    assert store("a.io", Credentials("me", "pw")) == "docker-credential-x"
    assert json.loads(kept.read_text()) == {"ServerURL": "a.io", "Username": "me", "Secret": "pw"}
    assert "pw" not in (tmp_path / "config.json").read_text()
    assert (forget("a.io"), kept.exists(), forget("a.io")) == (True, False, False)


def test_logins_at_once_are_all_stored(config: Any, tmp_path: Path):
    hosts = [f"h{at}.io" for at in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda host: store(host, Credentials("me", host)), hosts))
    assert set(json.loads((tmp_path / "config.json").read_text())["auths"]) == set(hosts)


def test_a_link_to_the_configuration_stays(config: Any, tmp_path: Path):
    config({"psFormat": "t"})
    (tmp_path / "config.json").rename(tmp_path / "dotfiles.json")
    (tmp_path / "config.json").symlink_to("dotfiles.json")
    store("a.io", Credentials("me", "pw"))
    assert (tmp_path / "config.json").is_symlink()
    assert find_credentials("a.io") == Credentials("me", "pw")


@pytest.mark.parametrize("kind", ["fifo", "zero", "directory"])
def test_a_configuration_that_is_not_a_file_is_refused(config: Any, tmp_path: Path, kind: str):
    path = tmp_path / "config.json"
    {"fifo": os.mkfifo, "zero": lambda at: at.symlink_to("/dev/zero"), "directory": Path.mkdir}[kind](path)
    for call in (
        lambda: find_credentials("a.io"),
        lambda: store("a.io", Credentials("a", "b")),
        lambda: forget("a.io"),
    ):
        with pytest.raises(DevboxError, match="not a regular file"):
            call()


def test_a_damaged_entry_can_be_removed(config: Any, tmp_path: Path):
    config({"auths": {"a.io": {"auth": "!"}}})
    assert (forget("a.io"), forget("a.io")) == (True, False)


def test_the_output_of_a_helper_does_not_show_the_password(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    helper(tmp_path, monkeypatch, 'echo "$host"; exit 1')
    config({"credsStore": "x"})
    with pytest.raises(DevboxError, match="docker-credential-x cannot store") as caught:
        store("a.io", Credentials("me", 'se"cret'))
    assert "cret" not in caught.value.render()


@pytest.mark.parametrize(
    ("name", "words"), [("absent", "program not found"), ("../x", "not the name"), ("y", "Exec format error")]
)
def test_a_helper_that_cannot_run_is_named(
    config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
):
    helper(tmp_path, monkeypatch, "")
    (tmp_path / "docker-credential-y").write_text("no program")
    (tmp_path / "docker-credential-y").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    config({"credsStore": name})
    for call in (lambda: find_credentials("a.io"), lambda: store("a.io", Credentials("a", "b"))):
        with pytest.raises(DevboxError, match=words) as caught:
            call()
        assert str(tmp_path / "config.json") in caught.value.render()
