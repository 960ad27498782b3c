"""Image pull: from a registry into the layout, byte-exact.

An index is kept complete, with the manifests of all platforms, so that its digest is preserved; blobs are fetched for
the host's platform, or on request for all, including referrers (signatures, SBOMs).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import TypeVar

from devbox.errors import RegistryError
from devbox.host.paths import Paths
from devbox.images.registry import credentials, graph
from devbox.images.registry.blobs import Meter, OnTransfer, download
from devbox.images.registry.connection import RegistryConnection
from devbox.images.registry.errors import run_parallel
from devbox.images.registry.reference import Reference
from devbox.images.registry.repository import RegistryRepository
from devbox.images.store.layout import Descriptor, Layout
from devbox.model import ids

T = TypeVar("T")

_DEEPEST = 3  # levels of nested indexes; allowed, but not seen in practice
_MOST_MANIFESTS = 500


def pull(
    reference: Reference,
    *,
    oci: Layout,
    paths: Paths,
    on_transfer: OnTransfer,
    all_platforms: bool = False,
    name: str = "",
) -> Descriptor:
    """Pull the image into the layout, under its reference or another name; return its index or manifest.

    No registry is contacted for a digest that is complete in the layout.
    """
    oci.create()

    def work(repository: RegistryRepository) -> Descriptor:
        return _Pull(repository, oci, paths, Meter("pulling", on_transfer)).run(all_platforms=all_platforms)

    local_layout = _find_local(reference.digest, oci) if reference.digest and not all_platforms else None
    top = local_layout or _try_endpoints(reference, work)
    oci.set_ref(name or str(reference), top)
    return top


def _find_local(digest: str, oci: Layout) -> Descriptor | None:
    """Return the image of a digest if the layout has everything for the host's platform."""
    top = manifest = graph.derive_descriptor(digest, oci.read_raw(digest) or b"")
    for _ in range(_DEEPEST):
        raw = oci.read_raw(manifest.digest)
        if raw is None or ids.compute_sha256(raw) != manifest.digest:
            return None
        node = graph.parse_node(manifest, raw)
        if not node.children:
            return top if all(map(oci.has_whole_blob, node.blobs)) else None
        manifest = graph.find_own_child(node)
    return None


def pull_attached(top: Descriptor, reference: Reference, *, oci: Layout, paths: Paths, on_transfer: OnTransfer) -> bool:
    """Fetch the referrers of an image in the layout; return False if the registry does not have the image."""
    origin = credentials.list_endpoints(reference.host)[-1]  # a mirror may lag behind
    repository = RegistryRepository(RegistryConnection(origin), reference._replace(tag="", digest=top.digest))
    if not repository.resolve_digest(top.digest):
        return False
    _Pull(repository, oci, paths, Meter("pulling", on_transfer)).run_attached(top)
    return True


class _Pull:
    """One pull from one endpoint."""

    def __init__(self, repository: RegistryRepository, oci: Layout, paths: Paths, meter: Meter) -> None:
        self._repository = repository
        self._oci = oci
        self._paths = paths
        self._meter = meter

    def run(self, *, all_platforms: bool) -> Descriptor:
        """Fetch the image; blobs before the names that refer to them."""
        reference = self._repository.reference
        top = self._fetch_manifest(reference.target)
        everything = self._fetch_tree(top)
        if all_platforms:
            self._fetch_blobs(everything)
            self._fetch_referrers(everything)
        else:
            self._fetch_blobs([_find_own_node(top, everything)])
        return top.descriptor

    def run_attached(self, top: Descriptor) -> None:
        """Fetch the referrers of an image in the layout, and of its children."""
        self._fetch_referrers(self._fetch_tree(graph.parse_node(top, self._oci.read_raw(top.digest) or b"")))

    def _fetch_manifest(self, target: str) -> graph.Node:
        found = self._repository.fetch_manifest(target)
        node = graph.parse_node(found.descriptor, found.raw)
        self._oci.write_raw(found.descriptor.digest, found.raw)
        return node

    def _fetch_child(self, descriptor: Descriptor) -> graph.Node:
        """Fetch a child of an index and verify it against its descriptor."""
        kept = self._oci.read_raw(descriptor.digest)
        raw = self._repository.fetch_manifest(descriptor.digest).raw if kept is None else kept
        node = graph.parse_node(descriptor, raw)
        self._oci.write_raw(descriptor.digest, raw)
        return node

    def _fetch_tree(self, top: graph.Node) -> list[graph.Node]:
        """Return the manifest and all its descendants, without duplicates."""
        found, row = {top.descriptor.digest: top}, [top]
        for _ in range(_DEEPEST):
            children = {child.digest: child for node in row for child in node.children if child.digest not in found}
            if len(found) + len(children) > _MOST_MANIFESTS:
                break
            row = [self._fetch_child(child) for child in children.values()]
            found |= {node.descriptor.digest: node for node in row}
        if any(child.digest not in found for node in row for child in node.children):
            raise RegistryError(
                f"too many entries in {top.descriptor.digest}", remedy="use another tag, or report it to the publisher"
            )
        return list(found.values())

    def _fetch_blobs(self, nodes: Iterable[graph.Node]) -> None:
        """Download the blobs of manifests in parallel, without duplicates."""
        blobs = {blob.digest: blob for node in nodes for blob in node.blobs}
        self._meter.expect(sum(blob.size for blob in blobs.values()))

        def get(blob: Descriptor) -> None:
            download(self._repository, blob, oci=self._oci, paths=self._paths, meter=self._meter)

        run_parallel(get, blobs.values())

    def _fetch_referrers(self, nodes: Iterable[graph.Node]) -> None:
        """Fetch the manifests' referrers from the registry's list, and from legacy tags."""
        reference = self._repository.reference
        for node in nodes:
            digest = node.descriptor.digest
            for listed in self._repository.list_referrers(digest):
                found = self._fetch_manifest(str(listed.get("digest", "")))
                self._fetch_blobs([found])
                self._oci.add_unnamed(found.descriptor)
            for tag in graph.list_legacy_tags(digest):
                if self._repository.resolve_digest(tag):
                    signature = self._fetch_manifest(tag)
                    self._fetch_blobs([signature])
                    self._oci.set_ref(str(reference._replace(tag=tag, digest="")), signature.descriptor)


def _find_own_node(top: graph.Node, everything: Iterable[graph.Node]) -> graph.Node:
    """Return the manifest for the host's platform."""
    nodes = {node.descriptor.digest: node for node in everything}
    while top.children:
        top = nodes[graph.find_own_child(top).digest]
    return top


def _try_endpoints(reference: Reference, work: Callable[[RegistryRepository], T]) -> T:
    """Return the result from the first working mirror, else from the registry; only its own error is raised."""
    *mirrors, origin = credentials.list_endpoints(reference.host)
    for mirror in mirrors:
        with contextlib.suppress(RegistryError):
            return work(RegistryRepository(RegistryConnection(mirror), reference))
    return work(RegistryRepository(RegistryConnection(origin), reference))
