"""How a release was built, as SLSA's provenance, version 1: by whom, from which sources, lock and inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any, NamedTuple

from devbox.frozen import dataclass
from devbox.host.version import VERSION
from devbox.images import documents

_BUILD_TYPE = "urn:devbox:build:v1"
_BUILDER = "urn:devbox:builder:"


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """A build of devbox. `source` as a release has it; `files`, `images`: what went in, by digest."""

    release: str
    config: str
    source: str
    builder: str  # as [builders] calls it
    env_file: str
    files: Mapping[str, str] = field(default_factory=dict)  # the file, its lock and recipes, the inputs of [build]
    images: Mapping[str, str] = field(default_factory=dict)  # references as the lock fixes them
    started: str
    finished: str

    def predicate(self) -> dict[str, Any]:
        """As SLSA has it."""
        return {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {"file": self.env_file, "source": self.source},
                "internalParameters": {"release": self.release, "config": self.config},
                "resolvedDependencies": list(self._materials()),
            },
            "runDetails": {
                "builder": {"id": f"{_BUILDER}{self.builder}", "version": {"devbox": VERSION}},
                "metadata": {"startedOn": self.started, "finishedOn": self.finished},
            },
        }

    def _materials(self) -> Iterator[dict[str, Any]]:
        kind, _, revision = self.source.partition(":")
        if kind == "git":
            commit, mark, dirty = revision.partition("-")
            yield {"name": f"source{mark}{dirty}", "digest": {"gitCommit": commit}}
        for name, digest in sorted(self.files.items()):
            yield {"name": name, "digest": {"sha256": _digits(digest)}}
        for reference, digest in sorted(self.images.items()):
            yield {"name": reference, "uri": f"docker://{reference}", "digest": {"sha256": _digits(digest)}}


class Told(NamedTuple):
    """What a provenance says: of any builder."""

    builder: str
    release: str  # "" unless devbox built it
    source: str


def read(predicate: dict[str, Any]) -> Told:
    """What a predicate says. Raises ValueError for what is no provenance."""
    definition, details = documents.table(predicate, "buildDefinition"), documents.table(predicate, "runDetails")
    builder = documents.text(documents.table(details, "builder"), "id")
    if not builder:
        raise ValueError("it names no builder")
    internal, external = (documents.table(definition, f"{side}ternalParameters") for side in ("in", "ex"))
    source = external.get("source")
    return Told(
        builder.removeprefix(_BUILDER),
        documents.text(internal, "release"),
        source if isinstance(source, str) else "",
    )


def _digits(digest: str) -> str:
    return digest.removeprefix("sha256:")
