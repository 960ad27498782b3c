"""Names of images as people write them: `postgres:17`, `ghcr.io/acme/app@sha256:…`. Pure.

The grammar is that of the OCI distribution; what is left out is filled in as everywhere: `docker.io`, `library/`,
`latest`.
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
    """An image at a registry. `tag` and `digest` are "" where not given; with both, the digest decides."""

    host: str  # "docker.io", "localhost:5000"
    repository: str  # "library/postgres"
    tag: str = ""
    digest: str = ""

    @property
    def target(self) -> str:
        """What a manifest is asked for by: the digest, else the tag."""
        return self.digest or self.tag

    @property
    def familiar_name(self) -> str:
        """As people write it: without what goes without saying."""
        name = f"{self.host}/{self.repository}"
        if self.host == DOCKER_HUB:
            name = self.repository.removeprefix(_OFFICIAL)
        return f"{name}{self._format_suffix()}"

    def __str__(self) -> str:
        """In full, as it stands in the store and in the lock."""
        return f"{self.host}/{self.repository}{self._format_suffix()}"

    def _format_suffix(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag


def parse(text: str) -> Reference:
    """The reference a person wrote. Raises UsageError."""
    match = _REFERENCE.fullmatch(_add_host(text))
    if match is None or len(match["path"]) > _LONGEST_NAME:
        raise UsageError(
            f"{text!r} is not the name of an image",
            remedy="write it as NAME:TAG, HOST/NAME:TAG or HOST/NAME@sha256:…, in lower-case letters",
        )
    host, repository, tag, digest = match["host"], match["path"], match["tag"] or "", match["digest"] or ""
    if host == DOCKER_HUB and "/" not in repository:
        repository = _OFFICIAL + repository
    return Reference(host, repository, tag or ("" if digest else "latest"), digest)


def _add_host(text: str) -> str:
    """The name with its registry: a first part is one when it can be no part of a repository."""
    first, slash, rest = text.partition("/")
    named = slash and (any(sign in first for sign in ".:[") or first == "localhost" or first != first.lower())
    if not named:
        return f"{DOCKER_HUB}/{text}"
    return f"{DOCKER_HUB}/{rest}" if first in _DOCKER_HUB_NAMES else text
