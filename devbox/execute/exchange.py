"""What is said about a release, to and from the repositories of its stages: several machines promote one project."""

from __future__ import annotations

from collections.abc import Iterable

from devbox.attest import attached
from devbox.execute.events import Note, Sink
from devbox.host.paths import Paths
from devbox.images.registry import reference
from devbox.images.registry.transfers import Transfers
from devbox.model.stage import Stage


def send(image: str, stages: Iterable[Stage], sink: Sink, *, paths: Paths) -> None:
    """Have what is attached to an image wherever a stage keeps that image. Raises RegistryError."""
    top = attached.subject_of(image, attached.store(paths))
    for name in _repositories(stages):
        if Transfers(paths).push_attached(top, reference.parse(name), lambda _: None):
            sink(Note(text=f"{name} knows of it"))


def fetch(image: str, stages: Iterable[Stage], *, paths: Paths) -> None:
    """Have what others attached to an image, wherever a stage keeps it. Raises RegistryError."""
    top = attached.subject_of(image, attached.store(paths))
    for name in _repositories(stages):
        Transfers(paths).pull_attached(top, reference.parse(name), lambda _: None)


def _repositories(stages: Iterable[Stage]) -> list[str]:
    """The repositories of stages, each once."""
    return list(dict.fromkeys(stage.repository for stage in stages if stage.repository))
