"""Pull and push as the commands have them: references as people write them, images of one store."""

from __future__ import annotations

from collections.abc import Collection

from devbox.errors import UsageError
from devbox.host.paths import Paths
from devbox.images.registry import pull as pulling
from devbox.images.registry import push as pushing
from devbox.images.registry.blobs import OnTransfer
from devbox.images.registry.push import PushResult
from devbox.images.registry.reference import Reference, parse
from devbox.images.store import lock
from devbox.images.store.layout import Descriptor, Layout

_SHORTEST = 12  # digits by which a digest may be named


class Transfers:
    """Moves images between a store and registries. Safe to use from several threads and processes at once."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._oci = Layout(paths.oci, lock=paths.lock("oci-index"))

    def pull(self, reference: Reference, on_transfer: OnTransfer, *, all_platforms: bool = False) -> Descriptor:
        """Have the image in the store; its index, or its manifest where it has none."""
        with lock.lock_shared(self._paths):
            return pulling.pull(
                reference, oci=self._oci, paths=self._paths, on_transfer=on_transfer, all_platforms=all_platforms
            )

    def pull_lost(self, name: str, digest: str, lost: Collection[str], on_transfer: OnTransfer) -> None:
        """Get back what was lost of an image that is at a registry, by the name and the digest that it had here."""
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

    def push(self, image: Descriptor, reference: Reference, on_transfer: OnTransfer) -> PushResult:
        """Have an image of the store at a registry."""
        with lock.lock_shared(self._paths):
            return pushing.push(image, reference, oci=self._oci, paths=self._paths, on_transfer=on_transfer)

    def push_attached(self, image: Descriptor, reference: Reference, on_transfer: OnTransfer) -> bool:
        """Have what refers to an image at a registry, where that has the image; whether it has."""
        with lock.lock_shared(self._paths):
            return pushing.push_attached(image, reference, oci=self._oci, on_transfer=on_transfer)

    def pull_attached(self, image: Descriptor, reference: Reference, on_transfer: OnTransfer) -> bool:
        """Have what a registry knows to refer to an image of the store; whether it has the image."""
        with lock.lock_shared(self._paths):
            return pulling.pull_attached(image, reference, oci=self._oci, paths=self._paths, on_transfer=on_transfer)

    def find(self, name: str) -> Descriptor:
        """The image of the store that a digest, its first digits, or a reference names. Raises UsageError."""
        digits = name.removeprefix("sha256:")
        for ref, target in self._oci.read_refs().items():
            if len(digits) >= _SHORTEST and target.digest.removeprefix("sha256:").startswith(digits):
                return target
            if ref in (name, _expand_name(name)):
                return target
        raise UsageError(
            f"the store has no image {name}",
            remedy="bake it with devbox up, pull it with devbox image pull, or name one of the file: dev, service.NAME",
        )


def _expand_name(name: str) -> str:
    try:
        return str(parse(name))
    except UsageError:
        return ""
