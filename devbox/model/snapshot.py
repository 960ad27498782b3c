"""Snapshots: copies of an instance's volumes, as they were at one moment."""

from __future__ import annotations

from devbox.frozen import dataclass


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Copies of some volumes under one name. `size`: bytes of their files, as `du` counts them."""

    name: str
    created_at: str  # RFC 3339 UTC
    volumes: tuple[str, ...]
    size: int
