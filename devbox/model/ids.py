"""Identity. What a thing is, is the hash of what it is made from."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INSTANCE_ID_LENGTH = 12


def encode_canonical_json(value: Any) -> bytes:
    """JSON that is equal for equal values: sorted keys, no spaces, UTF-8. File names keep bytes that are not UTF-8."""
    import json  # brings `re`: 7 ms that finding an instance can do without

    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(errors="surrogateescape")


def compute_sha256(data: bytes) -> str:
    """`sha256:<hex>` of bytes, as OCI writes digests."""
    return f"sha256:{_compute_sha256_hex(data)}"


def compute_key(value: Any) -> str:
    """The identity of a plain value (what `codec.dump` gives), as `sha256:<hex>`."""
    return compute_sha256(encode_canonical_json(value))


def compute_instance_id(root: str, env_file: str) -> str:
    """The id of a project instance: its canonical root and the env file's name there."""
    return _compute_sha256_hex(f"{root}\0{env_file}".encode(errors="surrogateescape"))[:INSTANCE_ID_LENGTH]


def compute_stage_id(instance: str, stage: str) -> str:
    """The id of the instance in which a stage of a project runs."""
    return _compute_sha256_hex(f"{instance}\0stage\0{stage}".encode())[:INSTANCE_ID_LENGTH]


def compute_cell_id(instance: str, cell: str) -> str:
    """The id of the instance that a cell of a project's test matrix is; of what all cells have in common for ""."""
    return _compute_sha256_hex(f"{instance}\0cell\0{cell}".encode())[:INSTANCE_ID_LENGTH]


def _compute_sha256_hex(data: bytes) -> str:
    """Hash something small. The interpreter's own code where it has it: `hashlib` loads OpenSSL, 3 ms."""
    try:
        from _sha2 import sha256
    except ImportError:
        from hashlib import sha256
    digest: str = sha256(data).hexdigest()
    return digest
