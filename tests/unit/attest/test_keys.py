"""Keys: what they sign they verify, what is kept opens with its passphrase only, and others can read it."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from devbox.attest import keys
from devbox.attest.keys import CommandSigner
from devbox.errors import SigningError

PASSPHRASE = "correct horse"


@pytest.mark.parametrize("kind", keys.KINDS)
def test_a_key_verifies_what_it_signed_and_nothing_else(kind: str):
    signer, other = keys.generate(kind), keys.generate(kind)
    signature = signer.sign(b"a release")
    assert signer.public.verifies(signature, b"a release")
    assert not signer.public.verifies(signature, b"another release")
    assert not other.public.verifies(signature, b"a release")
    assert not signer.public.verifies(b"", b"a release")


@pytest.mark.parametrize("kind", keys.KINDS)
def test_a_key_that_is_kept_opens_with_its_passphrase_only(kind: str):
    signer = keys.generate(kind)
    kept = signer.to_pem(PASSPHRASE)
    assert keys.read_private(kept, PASSPHRASE, where="x").public == signer.public
    for wrong in ("", "correct horsf"):
        with pytest.raises(SigningError):
            keys.read_private(kept, wrong, where="x")


@pytest.mark.parametrize("kind", keys.KINDS)
def test_openssl_reads_a_kept_key(kind: str, tmp_path: Path):
    signer = keys.generate(kind)
    (tmp_path / "key").write_text(signer.to_pem(PASSPHRASE))
    argv = ["openssl", "pkey", "-in", tmp_path / "key", "-passin", f"pass:{PASSPHRASE}", "-pubout"]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == signer.public.pem
    shown = subprocess.run(
        ["openssl", "asn1parse", "-in", tmp_path / "key"], capture_output=True, text=True, check=True
    )
    assert "scrypt" in shown.stdout


def test_an_unencrypted_key_is_kept_as_it_is():
    signer = keys.generate(keys.P256)
    kept = signer.to_pem("")
    assert not keys.is_encrypted(kept)
    assert keys.read_private(kept, "", where="x").public == signer.public


def test_a_key_is_read_in_openssl_s_own_forms(tmp_path: Path):
    made = subprocess.run(
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout"], capture_output=True, text=True, check=True
    )
    assert keys.read_private(made.stdout, "", where="x").public.kind == keys.P256


@pytest.mark.parametrize(
    "argv",
    [
        ["openssl", "genrsa", "2048"],
        ["openssl", "ecparam", "-name", "secp384r1", "-genkey", "-noout"],
        ["echo", "no key"],
    ],
)
def test_other_keys_are_refused(argv: list[str]):
    made = subprocess.run(argv, capture_output=True, text=True, check=True)
    with pytest.raises(SigningError):
        keys.read_private(made.stdout, "", where="x")


def _command(tmp_path: Path, *, packed: bool, other: bool = False) -> CommandSigner:
    """A key service: openssl, which signs the digest that it reads on stdin."""
    signer = keys.generate(keys.P256)
    (tmp_path / "key").write_text(keys.generate(keys.P256).to_pem("") if other else signer.to_pem(""))
    sign = f"openssl pkeyutl -sign -inkey {tmp_path}/key -pkeyopt digest:sha256"
    return CommandSigner(signer.public, f"{sign} | base64" if packed else sign)


@pytest.mark.parametrize("packed", [False, True])
def test_a_command_signs_a_digest(tmp_path: Path, *, packed: bool):
    signer = _command(tmp_path, packed=packed)
    assert signer.public.verifies(signer.sign(b"a release"), b"a release")


def test_a_command_that_signs_by_another_key_is_found_out(tmp_path: Path):
    with pytest.raises(SigningError):
        _command(tmp_path, packed=False, other=True).sign(b"a release")


def test_what_a_command_gets_is_the_digest_alone(tmp_path: Path):
    signer = _command(tmp_path, packed=False)
    with pytest.raises(SigningError):
        CommandSigner(signer.public, f"cat > {tmp_path}/stdin").sign(b"a release")
    digest = base64.b16encode((tmp_path / "stdin").read_bytes()).decode().lower()
    assert (
        digest
        == subprocess.run(["sha256sum"], input=b"a release", capture_output=True, check=True).stdout[:64].decode()
    )
