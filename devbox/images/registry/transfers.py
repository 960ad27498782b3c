"""Pull and push for commands: user-written references, images of one store."""

from __future__ import annotations

from collections.abc import Collection

from devbox.errors import UsageError
from devbox.host.paths import Paths
from devbox.images.registry import pull as pulling
from devbox.images.registry import push as pushing
from devbox.images.registry.blobs import OnTransfer
from devbox.images.registry.reference import Reference, parse
from devbox.images.store import lock
from devbox.images.store.layout import Descriptor, Layout

_SHORTEST = 12  # minimum digits of an abbreviated digest


class Transfers:
    """Transfers images between a store and registries. Safe for concurrent threads and processes."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._oci = Layout(paths.oci, lock=paths.lock("oci-index"))

    def pull(self, reference: Reference, on_transfer: OnTransfer, *, all_platforms: bool = False) -> Descriptor:
        """Pull the image into the store; return its index, or its manifest if it has none."""
        with lock.lock_shared(self._paths):
            return pulling.pull(
                reference, oci=self._oci, paths=self._paths, on_transfer=on_transfer, all_platforms=all_platforms
            )

    def pull_lost(self, name: str, digest: str, lost: Collection[str], on_transfer: OnTransfer) -> None:
        """Fetch the lost blobs of an image again, by its registry name and local digest."""
        exact = parse(name)._replace(tag="", digest=digest)
        with lock.lock_shared(self._paths):
            for all_platforms in (False, True):
                pulling.pull(
                    exact,
                    oci=self._oci,
                    paths=self._paths,
                    on_transfer=on_transfer,
                    all_platforms=all_platforms,
                    name=name,
                )
                if all(map(self._oci.has_blob, lost)):
                    return

    def push(self, image: Descriptor, reference: Reference, on_transfer: OnTransfer) -> pushing.PushResult:
        """Push an image of the store to a registry."""
        with lock.lock_shared(self._paths):
            return pushing.push(image, reference, oci=self._oci, paths=self._paths, on_transfer=on_transfer)

    def push_attached(self, image: Descriptor, reference: Reference, on_transfer: OnTransfer) -> bool:
        """Push an image's referrers; return whether the registry has the image."""
        with lock.lock_shared(self._paths):
            return pushing.push_attached(image, reference, oci=self._oci, on_transfer=on_transfer)

    def pull_attached(self, image: Descriptor, reference: Reference, on_transfer: OnTransfer) -> bool:
        """Fetch an image's referrers; return whether the registry has the image."""
        with lock.lock_shared(self._paths):
            return pulling.pull_attached(image, reference, oci=self._oci, paths=self._paths, on_transfer=on_transfer)

    def find(self, name: str) -> Descriptor:
        """Return the store's image for a digest, a digest prefix, or a reference. Raises UsageError."""
        digits = name.removeprefix("sha256:")
        for ref, target in self._oci.read_refs().items():
            if len(digits) >= _SHORTEST and target.digest.removeprefix("sha256:").startswith(digits):
                return target
            if ref in (name, _expand_name(name)):
                return target
        raise UsageError(
            f"image {name} not found in the store",
            remedy="run devbox up or devbox image pull, or name an image of the file: dev, service.NAME",
        )


def _expand_name(name: str) -> str:
    try:
        return str(parse(name))
    except UsageError:
        return ""
