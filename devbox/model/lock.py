"""The lock: what the images of a file are made from, to the version. `devbox.lock.toml` holds it, committed."""

from __future__ import annotations

from dataclasses import field

from devbox.frozen import dataclass

Versions = dict[str, str]
"""Package → version."""


@dataclass(frozen=True, kw_only=True)
class Lock:
    """All entries. A base system is shared by the images on it; other steps are known by what they do."""

    recipes: dict[str, str] = field(default_factory=dict)  # recipe → digest of what it says
    references: dict[str, str] = field(default_factory=dict)  # an image of a registry, as written → index digest
    tarballs: dict[str, str] = field(default_factory=dict)  # tarball's path in the project → its digest
    bases: dict[str, Versions] = field(default_factory=dict)  # "debian trixie" → its packages
    images: dict[str, dict[str, Versions]] = field(default_factory=dict)  # image → step → what it installs
