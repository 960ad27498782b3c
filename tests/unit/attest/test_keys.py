"""Keys: they verify their own signatures, need their passphrase, and are readable by other tools."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

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
        with pytest.raises(SigningError, match="wrong passphrase"):
            keys.read_private(kept, wrong, where="x")


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="requires openssh-client")
@pytest.mark.parametrize("kind", keys.KINDS)
def test_ssh_keygen_reads_a_kept_key(kind: str, tmp_path: Path):
    signer = keys.generate(kind)
    kept = tmp_path / "key"
    kept.touch(mode=0o600)
    kept.write_text(signer.to_pem(PASSPHRASE))
    argv = ["ssh-keygen", "-y", "-f", kept, "-P"]
    shown = subprocess.run([*argv, PASSPHRASE], capture_output=True, text=True, check=True).stdout
    known = serialization.load_ssh_public_key(shown.encode())
    assert isinstance(known, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    assert known.public_bytes(serialization.Encoding.PEM, form).decode() == signer.public.pem
    assert subprocess.run([*argv, "another"], capture_output=True, check=False).returncode


# Encrypted keys as devbox 0.1 wrote them before it took OpenSSH's form, with their fingerprints.
EARLIER = {
    "dd6f8e3fa0112346921314402d3fbd1e9fe2e768a2baa057cc1194488d0246db": """\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSsGAQQB2kcECzAcBBDzSEj86n1MXUZ78O7w
x8xfAgJAAAIBCAIBBTAdBglghkgBZQMEASoEEOQ0U9/NXhb+hUKM3JRP5dQEgZBn
uJAKJQcFy59K2L1cP4Ft49E7xEfRQxinZXQADGT047F2ZyoyskFEBi4Hww5PlcI0
bVX4JdZg+QWdXmai12ZjBNXW/P61dtQ+GRf8Qd/BgiptXF5U7r7wmTuuW4NgWR42
NSoeaYgpTX0Km/EVT9eRV/MYswweCTIRTv1aWgSAZz/yy3ADNSzFeD8WEFdgNZE=
-----END ENCRYPTED PRIVATE KEY-----
""",
    "49250a947b4f472e4eeb0ebb64d77fcc6df5c5d62a9865d6ebcbe6ce4bf53b07": """\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSsGAQQB2kcECzAcBBApEzCOn4uUM6giJZZ2
W3KDAgJAAAIBCAIBBTAdBglghkgBZQMEASoEEHrfP7FJwfiEDQ73pHHHDSoEQARp
BXmeLnFM3wb6gBr2i+9Jwyba7gRDUqoJg4uQj5tw4hnX96Abslv+7H55mYh04o7e
sZN64ixWi5cQ0IY0tCM=
-----END ENCRYPTED PRIVATE KEY-----
""",
}


@pytest.mark.parametrize("fingerprint", EARLIER)
def test_a_key_that_an_earlier_version_encrypted_is_read(fingerprint: str):
    text = EARLIER[fingerprint]
    assert keys.is_encrypted(text)
    assert keys.read_private(text, PASSPHRASE, where="x").public.fingerprint == fingerprint
    with pytest.raises(SigningError, match="wrong passphrase"):
        keys.read_private(text, "another", where="x")


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="requires openssh-client")
@pytest.mark.parametrize("cipher", ["aes256-ctr", "aes256-gcm@openssh.com"])
def test_a_key_of_ssh_keygen_is_read(cipher: str, tmp_path: Path):
    """Ciphers that authenticate report a wrong passphrase in another way than those that do not."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-Z", cipher, "-N", PASSPHRASE, "-f", tmp_path / "key"]
    subprocess.run(argv, capture_output=True, check=True)
    text = (tmp_path / "key").read_text()
    assert keys.is_encrypted(text)
    assert keys.read_private(text, PASSPHRASE, where="x").public.kind == keys.ED25519
    with pytest.raises(SigningError, match="wrong passphrase"):
        keys.read_private(text, "another", where="x")


def test_an_encrypted_key_that_is_cut_off_is_refused():
    kept = keys.generate(keys.P256).to_pem(PASSPHRASE)
    with pytest.raises(SigningError):
        keys.read_private(kept[:120], PASSPHRASE, where="x")


def test_a_long_passphrase_counts_to_its_end():
    kept = keys.generate(keys.ED25519).to_pem("é" * 200)
    keys.read_private(kept, "é" * 200, where="x")
    with pytest.raises(SigningError, match="wrong passphrase"):
        keys.read_private(kept, "é" * 199 + "e", where="x")


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
