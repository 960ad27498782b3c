"""Signing and verification keys: ed25519, and ECDSA on P-256 with SHA-256, which all key services support.

A key is identified by its fingerprint: the SHA-256 of its public half as DER (SPKI), in hexadecimal.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from devbox.errors import SigningError
from devbox.host import environ, process

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.serialization import KeySerializationEncryption

ED25519, P256 = "ed25519", "ecdsa-p256"
KINDS = (P256, ED25519)
_PATIENCE = 60.0  # seconds; a key service may prompt a user
_OPENSSH = "-----BEGIN OPENSSH PRIVATE KEY-----"
_ROUNDS = 24  # of bcrypt, as ssh-keygen: a quarter of a second


@dataclass(frozen=True)
class PublicKey:
    """A public key. `pem` is its only form: SubjectPublicKeyInfo."""

    pem: str
    kind: str
    fingerprint: str

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Return whether this key signed the data."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519

        key = serialization.load_pem_public_key(self.pem.encode())
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, data)
            elif isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
            else:
                return False
        except InvalidSignature:
            return False
        return True


class Signer(Protocol):
    """A key that signs."""

    @property
    def public(self) -> PublicKey:
        """The public half."""

    def sign(self, data: bytes) -> bytes:
        """Sign data: 64 bytes for ed25519, a DER signature for ECDSA. Raises SigningError."""


class LocalSigner:
    """A decrypted private key on this host."""

    def __init__(self, private: Any) -> None:
        self._private = private
        self.public = _build_public(private.public_key())

    def sign(self, data: bytes) -> bytes:
        """Sign data."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        how = () if self.public.kind == ED25519 else (ec.ECDSA(hashes.SHA256()),)
        signature: bytes = self._private.sign(data, *how)
        return signature

    def to_pem(self, passphrase: str) -> str:
        """Return the private key as PEM: PKCS#8, or OpenSSH's encrypted form unless the passphrase is empty."""
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        how: tuple[PrivateFormat, KeySerializationEncryption] = (PrivateFormat.PKCS8, NoEncryption())
        if passphrase:
            encryption = PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(_ROUNDS)
            how = (PrivateFormat.OpenSSH, encryption.build(passphrase.encode()))
        text: bytes = self._private.private_bytes(Encoding.PEM, *how)
        return text.decode()


class CommandSigner:
    """A key used through a command, as for a key service: SHA-256 digest of 32 bytes on stdin, signature on stdout.

    The signature is DER, raw or in base64. It is verified before use.
    """

    def __init__(self, public: PublicKey, command: str) -> None:
        self.public = public
        self._command = command

    def sign(self, data: bytes) -> bytes:
        """Sign data."""
        done = process.run(
            ["/bin/sh", "-c", self._command],
            purpose="sign with the key's command",
            input=hashlib.sha256(data).digest(),
            env=environ.copy_environment(),
            timeout=_PATIENCE,
        )
        for signature in (done.stdout, _decode_base64(done.stdout)):
            if signature and self.public.verifies(signature, data):
                return signature
        raise SigningError(
            f"the command `{self._command}` printed no valid signature of this key for the digest",
            remedy="read 32 bytes (a SHA-256) from stdin, and print an ECDSA signature: DER, or DER in base64",
        )


def generate(kind: str) -> LocalSigner:
    """Generate a key."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    return LocalSigner(
        ed25519.Ed25519PrivateKey.generate() if kind == ED25519 else ec.generate_private_key(_load_curve())
    )


def read_public(text: str, *, where: str) -> PublicKey:
    """Read a public key in PEM; `where`: its file, for errors. Raises SigningError if invalid."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        return _build_public(serialization.load_pem_public_key(text.encode()))
    except (ValueError, UnsupportedAlgorithm):
        raise SigningError(
            "expected a public key in PEM", where=where, remedy="devbox key export NAME > FILE"
        ) from None


def is_encrypted(text: str) -> bool:
    """Return whether a private key in PEM requires a passphrase."""
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        _load_private(text, None)
    except TypeError:  # how `cryptography` reports a missing passphrase
        return True
    except (ValueError, UnsupportedAlgorithm):
        return False
    return False


def read_private(text: str, passphrase: str, *, where: str) -> LocalSigner:
    """Read a private key in PEM; raise SigningError if it is invalid or the passphrase is wrong."""
    from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm

    secret = passphrase.encode() if is_encrypted(text) else None
    try:
        return LocalSigner(_load_private(text, secret))
    except (ValueError, TypeError, InvalidTag, UnsupportedAlgorithm):
        if secret is not None:
            remedy = "check that DEVBOX_KEY_PASSPHRASE belongs to this key"
            raise SigningError("wrong passphrase", where=where, remedy=remedy) from None
        raise SigningError(
            "invalid key: expected a private key in PEM", where=where, remedy="devbox key export NAME --private > FILE"
        ) from None


def _load_private(text: str, secret: bytes | None) -> Any:
    """Load a key in OpenSSH's form, or in PKCS#8 (keys of earlier versions) and OpenSSL's own forms."""
    from cryptography.hazmat.primitives import serialization

    load = serialization.load_ssh_private_key if _OPENSSH in text else serialization.load_pem_private_key
    return load(text.encode(), secret)


def _build_public(key: Any) -> PublicKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == _load_curve().name:
        kind = P256
    elif isinstance(key, ed25519.Ed25519PublicKey):
        kind = ED25519
    else:
        raise SigningError("unsupported kind of key: expected ed25519 or ECDSA P-256", remedy="devbox key create NAME")
    text = key.public_bytes(serialization.Encoding.PEM, form).decode()
    der = key.public_bytes(serialization.Encoding.DER, form)
    return PublicKey(pem=text, kind=kind, fingerprint=hashlib.sha256(der).hexdigest())


def _load_curve() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.SECP256R1()


def _decode_base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except ValueError:
        return b""
