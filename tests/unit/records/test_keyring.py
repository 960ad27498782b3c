"""A user's keys: where they are stored, and the default signing key."""

from __future__ import annotations

import os
import signal
import stat

import pytest

from devbox.attest import keys as crypto
from devbox.commands import signing as verbs
from devbox.errors import SigningError, UsageError
from devbox.host.paths import Paths
from devbox.records.keyring import KeyStore


@pytest.fixture
def paths(tmp_path, monkeypatch) -> Paths:
    monkeypatch.delenv(verbs.KEY, raising=False)
    monkeypatch.delenv(verbs.PASSPHRASE, raising=False)
    return Paths(str(tmp_path / "home"), str(tmp_path / "run"))


def _made(paths, *names):
    return {name: KeyStore(paths).add(name, crypto.generate(crypto.ED25519), "").public.fingerprint for name in names}


def test_private_halves_are_their_owner_s_alone(paths):
    _made(paths, "ci")
    KeyStore(paths).add_command("kms", crypto.generate(crypto.P256).public, "true")
    assert stat.S_IMODE(os.stat(paths.keys).st_mode) == 0o700
    modes = {name: stat.S_IMODE(os.stat(f"{paths.keys}/{name}").st_mode) for name in os.listdir(paths.keys)}
    assert modes == {"ci.key": 0o600, "ci.pub": 0o644, "kms.pub": 0o644}
    assert stat.S_IMODE(os.stat(paths.key_command("kms")).st_mode) == 0o600


@pytest.mark.parametrize("name", ["", ".", "../x", "a/b", "a b", "-a", "a" * 64])
def test_a_name_is_not_a_path(paths, name):
    with pytest.raises(UsageError):
        KeyStore(paths).add(name, crypto.generate(crypto.ED25519), "")


def test_a_key_is_not_written_over(paths):
    made = _made(paths, "ci")
    with pytest.raises(UsageError, match="key ci already exists"):
        _made(paths, "ci")
    assert KeyStore(paths).find("ci").public.fingerprint == made["ci"]


def test_a_private_half_of_another_key_does_not_sign(paths):
    _made(paths, "ci", "eve")
    os.rename(f"{paths.keys}/eve.key", f"{paths.keys}/ci.key")
    with pytest.raises(SigningError, match="do not match"):
        verbs.open_signer(paths, KeyStore(paths).find("ci"), None)


def test_a_command_signs_with_a_key_of_ecdsa_only(paths):
    with pytest.raises(UsageError):
        KeyStore(paths).add_command("kms", crypto.generate(crypto.ED25519).public, "true")


def test_the_only_key_that_fits_signs(paths):
    made = _made(paths, "ann", "ci")
    assert verbs.choose_key(paths, "", fitting={made["ci"]}).name == "ci"
    assert verbs.choose_key(paths, "", fitting={"another"}) is None
    assert verbs.choose_key(paths, "ann", fitting={made["ci"]}).name == "ann"


def test_several_keys_require_a_choice(paths, monkeypatch):
    made = _made(paths, "ann", "ci")
    with pytest.raises(UsageError, match="ann, ci"):
        verbs.choose_key(paths, "", fitting=made.values())
    monkeypatch.setenv(verbs.KEY, "ann")
    assert verbs.choose_key(paths, "", fitting=made.values()).name == "ann"


def test_the_preferred_key_does_not_sign_what_it_would_not_have_signed(paths, monkeypatch):
    """Otherwise an approver would sign as the builder of the release to approve."""
    made = _made(paths, "ann", "ci")
    monkeypatch.setenv(verbs.KEY, "ann")
    assert verbs.choose_key(paths, "", fitting={made["ci"]}).name == "ci"
    assert verbs.choose_key(paths, "", fitting={"another"}) is None


@pytest.mark.parametrize(("given", "word"), [("word", "word"), ("cmd:printf 'a b'", "a b"), ("file:HERE", "in a file")])
def test_a_passphrase_is_itself_or_where_it_is(paths, tmp_path, monkeypatch, given, word):
    (tmp_path / "word").write_text("in a file\n")
    monkeypatch.setenv(verbs.PASSPHRASE, given.replace("HERE", str(tmp_path / "word")))
    assert verbs.read_passphrase("ci", None) == word


@pytest.mark.parametrize("given", ["", "file:/nowhere", "file:/dev/null"])
def test_no_passphrase_is_an_error_off_a_terminal(paths, monkeypatch, given):
    monkeypatch.setenv(verbs.PASSPHRASE, given)
    with pytest.raises(SigningError):
        verbs.read_passphrase("ci", None)


def test_issue10_2_a_dangling_link_is_not_a_key(paths):
    """Each key that was not found listed all keys, without end."""
    made = _made(paths, "ci")
    os.symlink("nowhere", f"{paths.keys}/gone.pub")
    assert [key.name for key in KeyStore(paths).list_keys()] == [*made]
    with pytest.raises(UsageError, match="key gone not found"):
        KeyStore(paths).find("gone")


@pytest.mark.parametrize("half", ["pub", "key"])
def test_issue10_2_a_key_that_is_a_pipe_is_damaged_and_not_waited_for(paths, half):
    _made(paths, "ci")
    os.unlink(f"{paths.keys}/ci.{half}")
    os.mkfifo(f"{paths.keys}/ci.{half}")
    signal.alarm(20)  # ends the tests where it waits for a writer
    try:
        with pytest.raises(SigningError, match="PEM"):
            verbs.open_signer(paths, KeyStore(paths).find("ci"), None)
    finally:
        signal.alarm(0)
