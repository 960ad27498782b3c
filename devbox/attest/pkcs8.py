"""Private keys at rest: PKCS#8, encrypted with AES-256-CBC by a key that scrypt makes of a passphrase (RFC 5958, 7914).

`cryptography` reads this form and writes PBKDF2 of 2,048 rounds only, which a graphics card tries a million times a
second; so its few bytes of ASN.1 are written here. OpenSSL reads them, too: `openssl pkey -in NAME.key`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import textwrap

LABEL = "ENCRYPTED PRIVATE KEY"
# OWASP's choice for 16 MiB; with more memory, OpenSSL would refuse to read the key.
_COST, _BLOCK, _LANES = 1 << 14, 8, 5
_AES_BLOCK = 16

_SEQUENCE, _INTEGER, _OCTETS = 0x30, 0x02, 0x04
_PBES2 = bytes.fromhex("06092a864886f70d01050d")
_SCRYPT = bytes.fromhex("06092b06010401da47040b")
_AES_256_CBC = bytes.fromhex("060960864801650304012a")


def sealed(plain: bytes, passphrase: str) -> str:
    """A PKCS#8 structure as a PEM text that opens with the passphrase."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    salt, start = os.urandom(16), os.urandom(_AES_BLOCK)
    key = hashlib.scrypt(passphrase.encode(), salt=salt, n=_COST, r=_BLOCK, p=_LANES, dklen=32)
    missing = _AES_BLOCK - len(plain) % _AES_BLOCK
    encryptor = Cipher(algorithms.AES256(key), modes.CBC(start)).encryptor()
    secret = encryptor.update(plain + bytes([missing]) * missing) + encryptor.finalize()
    derivation = _der(_SEQUENCE, _SCRYPT, _der(_SEQUENCE, _der(_OCTETS, salt), *map(_number, (_COST, _BLOCK, _LANES))))
    cipher = _der(_SEQUENCE, _AES_256_CBC, _der(_OCTETS, start))
    how = _der(_SEQUENCE, _PBES2, _der(_SEQUENCE, derivation, cipher))
    return _pem(_der(_SEQUENCE, how, _der(_OCTETS, secret)))


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:  # noqa: PLR2004 - the short form of a length
        return bytes([tag, size]) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(digits)]) + digits + content


def _number(value: int) -> bytes:
    return _der(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1))


def _pem(der: bytes) -> str:
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    return "\n".join((f"-----BEGIN {LABEL}-----", *lines, f"-----END {LABEL}-----", ""))
