"""Pulling: an image of a registry into the layout, to the byte.

An index is kept whole, with the manifests of all platforms, so that its digest stays; of blobs come those that this
machine runs, or all of them, with what refers to the image (signatures, bills of materials), when asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import TypeVar

from devbox.errors import RegistryError
from devbox.host.paths import Paths
from devbox.images.layout import Descriptor, Layout
from devbox.images.registry import graph, settings
from devbox.images.registry.connection import Connection
from devbox.images.registry.download import download
from devbox.images.registry.progress import Meter, OnTransfer
from devbox.images.registry.reference import Reference, parse
from devbox.images.registry.repository import Repository
from devbox.images.registry.together import together
from devbox.model import ids

T = TypeVar("T")

_DEEPEST = 3  # an index of indexes is allowed, and not seen
_MOST_MANIFESTS = 500


def resolve(text: str) -> str:
    """The digest that a reference names just now. Raises RegistryError when there is none."""
    reference = parse(text)
    return _from_first(reference, lambda repository: repository.manifest(reference.target).descriptor.digest)


def pull(
    reference: Reference,
    *,
    oci: Layout,
    paths: Paths,
    on_transfer: OnTransfer,
    all_platforms: bool = False,
    name: str = "",
) -> Descriptor:
    """Have the image in the layout, under its reference or another name; its index or manifest.

    No registry is asked for what a digest names and the layout has.
    """
    oci.create()

    def work(repository: Repository) -> Descriptor:
        return _Pull(repository, oci, paths, Meter("pulling", on_transfer)).run(all_platforms=all_platforms)

    there = _there(reference.digest, oci) if reference.digest and not all_platforms else None
    top = there or _from_first(reference, work)
    oci.set_ref(name or str(reference), top)
    return top


def _there(digest: str, oci: Layout) -> Descriptor | None:
    """The image of a digest, if the layout has all of it that this machine runs."""
    top = wanted = graph.described(digest, oci.read_raw(digest) or b"")
    for _ in range(_DEEPEST):
        raw = oci.read_raw(wanted.digest)
        if raw is None or ids.sha256(raw) != wanted.digest:
            return None
        node = graph.understand(wanted, raw)
        if not node.children:
            return top if all(map(oci.has_whole, node.blobs)) else None
        wanted = graph.own_child(node)
    return None


def pull_attached(top: Descriptor, reference: Reference, *, oci: Layout, paths: Paths, on_transfer: OnTransfer) -> bool:
    """Have what refers to an image of the layout, as a registry knows it; False where that does not have the image."""
    origin = settings.endpoints(reference.host)[-1]  # a mirror may lag behind
    repository = Repository(Connection(origin), reference._replace(tag="", digest=top.digest))
    if not repository.digest(top.digest):
        return False
    _Pull(repository, oci, paths, Meter("pulling", on_transfer)).attached(top)
    return True


class _Pull:
    """One pull from one endpoint."""

    def __init__(self, repository: Repository, oci: Layout, paths: Paths, meter: Meter) -> None:
        self._repository = repository
        self._oci = oci
        self._paths = paths
        self._meter = meter

    def run(self, *, all_platforms: bool) -> Descriptor:
        """Get the image; blobs before what names them is of use to anybody."""
        reference = self._repository.reference
        top = self._manifest(reference.target)
        everything = self._below(top)
        if all_platforms:
            self._blobs(everything)
            self._companions(everything)
        else:
            self._blobs([_own(top, everything)])
        return top.descriptor

    def attached(self, top: Descriptor) -> None:
        """Get what refers to an image, or to what it lists, that the layout has."""
        self._companions(self._below(graph.understand(top, self._oci.read_raw(top.digest) or b"")))

    def _manifest(self, target: str) -> graph.Node:
        found = self._repository.manifest(target)
        node = graph.understand(found.descriptor, found.raw)
        self._oci.write_raw(found.descriptor.digest, found.raw)
        return node

    def _child(self, descriptor: Descriptor) -> graph.Node:
        """What an index lists, which must be what the index says of it."""
        kept = self._oci.read_raw(descriptor.digest)
        raw = self._repository.manifest(descriptor.digest).raw if kept is None else kept
        node = graph.understand(descriptor, raw)
        self._oci.write_raw(descriptor.digest, raw)
        return node

    def _below(self, top: graph.Node) -> list[graph.Node]:
        """The manifest and all below it, each once, however often it is listed."""
        found, row = {top.descriptor.digest: top}, [top]
        for _ in range(_DEEPEST):
            wanted = {child.digest: child for node in row for child in node.children if child.digest not in found}
            if len(found) + len(wanted) > _MOST_MANIFESTS:
                break
            row = [self._child(child) for child in wanted.values()]
            found |= {node.descriptor.digest: node for node in row}
        if any(child.digest not in found for node in row for child in node.children):
            raise RegistryError(
                f"{top.descriptor.digest} lists more than an image has",
                remedy="take another tag, or tell who pushed it",
            )
        return list(found.values())

    def _blobs(self, nodes: Iterable[graph.Node]) -> None:
        """Have the blobs of manifests, several at once, each once."""
        wanted = {blob.digest: blob for node in nodes for blob in node.blobs}
        self._meter.expect(sum(blob.size for blob in wanted.values()))

        def get(blob: Descriptor) -> None:
            download(self._repository, blob, oci=self._oci, paths=self._paths, meter=self._meter)

        together(get, wanted.values())

    def _companions(self, nodes: Iterable[graph.Node]) -> None:
        """Get what refers to the manifests: listed as such, or by the tags that were used before such lists."""
        reference = self._repository.reference
        for node in nodes:
            digest = node.descriptor.digest
            for listed in self._repository.referrers(digest):
                found = self._manifest(str(listed.get("digest", "")))
                self._blobs([found])
                self._oci.add_nameless(found.descriptor)
            for tag in graph.legacy_tags(digest):
                if self._repository.digest(tag):
                    signature = self._manifest(tag)
                    self._blobs([signature])
                    self._oci.set_ref(str(reference._replace(tag=tag, digest="")), signature.descriptor)


def _own(top: graph.Node, everything: Iterable[graph.Node]) -> graph.Node:
    """The manifest that this machine runs."""
    nodes = {node.descriptor.digest: node for node in everything}
    while top.children:
        top = nodes[graph.own_child(top).digest]
    return top


def _from_first(reference: Reference, work: Callable[[Repository], T]) -> T:
    """What the first of the registry's mirrors that can gives, or the registry itself. Its own failure counts."""
    *mirrors, origin = settings.endpoints(reference.host)
    for mirror in mirrors:
        with contextlib.suppress(RegistryError):
            return work(Repository(Connection(mirror), reference))
    return work(Repository(Connection(origin), reference))
