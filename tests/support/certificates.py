"""Certificates for tests, made by openssl: a private CA and the certificates that it signs."""

from __future__ import annotations

import subprocess
from pathlib import Path

_AUTHORITY = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign")
_SERVER = ("basicConstraints=CA:FALSE", "keyUsage=digitalSignature", "authorityKeyIdentifier=keyid")


def authority(place: Path, subject: str, *, plain: bool = False) -> Path:
    """Make `ca.pem` and `ca.key` in a directory; the certificate. A `plain` one says only that it is an authority."""
    return _certify(place, "ca", subject, *(_AUTHORITY[:1] if plain else _AUTHORITY))


def server(place: Path, name: str, names: str) -> tuple[Path, Path]:
    """Make a certificate for `names` ("DNS:a,IP:127.0.0.1"), signed by the authority of the place; it and its key."""
    return _certify(place, name, name, *_SERVER, f"subjectAltName={names}", signer="ca"), place / f"{name}.key"


def _certify(place: Path, name: str, subject: str, *extensions: str, signer: str = "") -> Path:
    """Create NAME.key and NAME.pem, self-signed by default."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key")
    signed = ("-CA", f"{signer}.pem", "-CAkey", f"{signer}.key") if signer else ()
    added = [word for extension in extensions for word in ("-addext", extension)]
    words = ("req", "-x509", *key, "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={subject}", *signed, *added)
    subprocess.run(["openssl", *words], cwd=place, check=True, capture_output=True)
    return place / f"{name}.pem"
