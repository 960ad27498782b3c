"""Identities: hashes of canonical inputs."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INSTANCE_ID_LENGTH = 12


def encode_canonical_json(value: Any) -> bytes:
    """Encode equal values as equal JSON: sorted keys, no spaces, UTF-8, preserving non-UTF-8 bytes of file names."""
    import json  # imports `re`: 7 ms, which finding an instance can avoid

    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogateescape")


def compute_sha256(data: bytes) -> str:
    """Return `sha256:<hex>` of bytes, in OCI's digest format."""
    return f"sha256:{_compute_sha256_hex(data)}"


def compute_key(value: Any) -> str:
    """Return the identity of a plain value (from `codec.dump`) as `sha256:<hex>`."""
    return compute_sha256(encode_canonical_json(value))


def compute_instance_id(root: str, env_file: str) -> str:
    """Return the id of a project instance: from its canonical root and the env file's name."""
    return _compute_sha256_hex(f"{root}\0{env_file}".encode(errors="surrogateescape"))[:INSTANCE_ID_LENGTH]


def compute_stage_id(instance: str, stage: str) -> str:
    """Return the id of the instance of a project's stage."""
    return _compute_sha256_hex(f"{instance}\0stage\0{stage}".encode())[:INSTANCE_ID_LENGTH]


def compute_cell_id(instance: str, cell: str) -> str:
    """Return the id of the instance of a cell in a project's test matrix; "" for the shared one of all cells."""
    return _compute_sha256_hex(f"{instance}\0cell\0{cell}".encode())[:INSTANCE_ID_LENGTH]


def _compute_sha256_hex(data: bytes) -> str:
    """Hash a small value with the interpreter's own code if available: `hashlib` loads OpenSSL, 3 ms."""
    try:
        from _sha2 import sha256
    except ImportError:
        from hashlib import sha256
    digest: str = sha256(data).hexdigest()
    return digest
