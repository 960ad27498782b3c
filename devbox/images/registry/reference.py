"""Image references: `postgres:17`, `ghcr.io/acme/app@sha256:…`. Pure.

The grammar is that of the OCI distribution specification, with the usual defaults: `docker.io`, `library/`, `latest`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from devbox.errors import UsageError

DOCKER_HUB = "docker.io"
_DOCKER_HUB_NAMES = ("docker.io", "index.docker.io", "registry-1.docker.io")
_OFFICIAL = "library/"
_LONGEST_NAME = 255

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DIGEST = r"sha256:[0-9a-f]{64}"
_REFERENCE = re.compile(
    rf"(?:(?P<host>{_HOST})/)?(?P<path>{_PART}(?:/{_PART})*)(?::(?P<tag>\w[\w.-]{{0,127}}))?(?:@(?P<digest>{_DIGEST}))?",
    re.ASCII,
)


class Reference(NamedTuple):
    """An image in a registry. `tag` and `digest` are "" if not given; the digest takes precedence."""

    host: str  # "docker.io", "localhost:5000"
    repository: str  # "library/postgres"
    tag: str = ""
    digest: str = ""

    @property
    def target(self) -> str:
        """The digest, else the tag, for manifest requests."""
        return self.digest or self.tag

    @property
    def familiar_name(self) -> str:
        """The short form without defaults."""
        name = f"{self.host}/{self.repository}"
        if self.host == DOCKER_HUB:
            name = self.repository.removeprefix(_OFFICIAL)
        return f"{name}{self._format_suffix()}"

    def __str__(self) -> str:
        """Return the full form, as in the store and in the lockfile."""
        return f"{self.host}/{self.repository}{self._format_suffix()}"

    def _format_suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag


def parse(text: str) -> Reference:
    """Parse a reference written by a user; raise UsageError."""
    match = _REFERENCE.fullmatch(_add_host(text))
    if match is None or len(match["path"]) > _LONGEST_NAME:
        raise UsageError(
            f'invalid image name "{text}"',
            remedy="write it as NAME:TAG, HOST/NAME:TAG or HOST/NAME@sha256:…, in lower-case letters",
        )
    host, repository, tag, digest = match["host"], match["path"], match["tag"] or "", match["digest"] or ""
    if host == DOCKER_HUB and "/" not in repository:
        repository = _OFFICIAL + repository
    return Reference(host, repository, tag or ("" if digest else "latest"), digest)


def _add_host(text: str) -> str:
    """Add the default registry, unless the first part can only be a registry."""
    first, slash, rest = text.partition("/")
    named = slash and (any(sign in first for sign in ".:[") or first == "localhost" or first != first.lower())
    if not named:
        return f"{DOCKER_HUB}/{text}"
    return f"{DOCKER_HUB}/{rest}" if first in _DOCKER_HUB_NAMES else text
