"""A registry that serves one image over the minimal Debian of the tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from support import layouts, rootfs
from support.registry import Registry, registry

from devbox.host.paths import Paths
from devbox.images.registry.reference import parse
from devbox.images.registry.transfers import Transfers
from devbox.images.store import layout
from devbox.images.store.layout import Descriptor, Layout

Image = Callable[[Layout, Descriptor], Descriptor]
"""Makes an index in a layout, given the layer of the minimal Debian."""


@contextlib.contextmanager
def serving(place: Path, name: str, image: Image) -> Iterator[Registry]:
    """A registry without a password and TLS that has the image as `name`, as "team/app:1"."""
    place.chmod(0o755)
    with registry(place, tls=False, password=False) as made:
        paths = Paths(str(place / "store"), str(place / "run"))
        oci = Layout(paths.oci, lock=paths.lock("oci-index"))
        system = layouts.blob(oci, rootfs.tarball().read_bytes(), layout.LAYER)
        Transfers(paths).push(image(oci, system), parse(f"{made.host}/{name}"), lambda _: None)
        yield made
