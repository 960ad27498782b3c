"""What is said about a release, to and from the repositories of its stages: several machines promote one project."""

from __future__ import annotations

from collections.abc import Iterable

from devbox.attest import attached
from devbox.execute.events import Sink
from devbox.execute.transfer import watched
from devbox.host.paths import Paths
from devbox.images.registry import reference
from devbox.images.registry.progress import OnTransfer
from devbox.images.registry.transfers import Transfers
from devbox.model.stage import Stage


def send(image: str, stages: Iterable[Stage], sink: Sink, *, paths: Paths) -> None:
    """Have what is attached to an image wherever a stage keeps it. Raises RegistryError."""
    top = attached.subject_of(image, attached.store(paths))
    for name in repositories(stages):

        def work(on_transfer: OnTransfer, name: str = name) -> str:
            there = Transfers(paths).push_attached(top, reference.parse(name), on_transfer)
            return "" if there else "it does not have the image"

        watched("push", f"what is attached, to {name}", work, sink)


def fetch(image: str, stages: Iterable[Stage], sink: Sink, *, paths: Paths) -> None:
    """Have what others attached to an image, wherever a stage keeps it. Raises RegistryError."""
    top = attached.subject_of(image, attached.store(paths))
    for name in repositories(stages):

        def work(on_transfer: OnTransfer, name: str = name) -> str:
            there = Transfers(paths).pull_attached(top, reference.parse(name), on_transfer)
            return "" if there else "it does not have the image"

        watched("pull", f"what is attached, from {name}", work, sink)


def repositories(stages: Iterable[Stage]) -> list[str]:
    """The repositories of stages, each once."""
    return list(dict.fromkeys(stage.repository for stage in stages if stage.repository))
