"""Identity. What a thing is, is the hash of what it is made from."""

from __future__ import annotations

import hashlib
import json
from typing import Any

INSTANCE_ID_LENGTH = 12


def canonical_json(value: Any) -> bytes:
    """JSON that is equal for equal values: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def sha256(data: bytes) -> str:
    """`sha256:<hex>` of bytes, as OCI writes digests."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def key_of(value: Any) -> str:
    """The identity of a plain value (what `codec.dump` gives), as `sha256:<hex>`."""
    return sha256(canonical_json(value))


def instance_id(root: str, env_file: str) -> str:
    """The id of a project instance: its canonical root and the env file's name there."""
    return hashlib.sha256(f"{root}\0{env_file}".encode()).hexdigest()[:INSTANCE_ID_LENGTH]
