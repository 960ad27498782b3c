"""Stores that tests of registries push from and pull into."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from devbox.host.paths import Paths
from devbox.images.registry.push import PushResult
from devbox.images.registry.reference import Reference
from devbox.images.registry.transfers import Transfers
from devbox.images.store.layout import Descriptor, Layout


class Store(NamedTuple):
    """A store of its own."""

    paths: Paths
    oci: Layout
    transfers: Transfers

    def blobs(self) -> set[str]:
        """The blobs that are there."""
        return set(os.listdir(f"{self.paths.oci}/blobs/sha256"))

    def push(self, image: Descriptor, reference: Reference) -> PushResult:
        """Push, unwatched."""
        return self.transfers.push(image, reference, lambda _: None)

    def pull(self, reference: Reference, *, all_platforms: bool = False) -> Descriptor:
        """Pull, unwatched."""
        return self.transfers.pull(reference, lambda _: None, all_platforms=all_platforms)


def new_store(place: Path) -> Store:
    """An empty store."""
    paths = Paths(str(place), f"{place}-run")
    return Store(paths, Layout(paths.oci, lock=paths.lock("oci-index")), Transfers(paths))
