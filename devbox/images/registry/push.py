"""Image push: from the layout to a registry, byte-exact. Existing content is not sent again.

Order: blobs, manifests bottom-up, referrers, and last the tag, so that a tag always refers to a complete image.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from devbox.errors import RegistryError
from devbox.host.paths import Paths
from devbox.images.registry import artifacts, credentials, graph
from devbox.images.registry.blobs import Meter, OnTransfer, upload
from devbox.images.registry.connection import RegistryConnection
from devbox.images.registry.errors import run_parallel
from devbox.images.registry.pull import pull
from devbox.images.registry.reference import Reference, parse
from devbox.images.registry.repository import RegistryRepository
from devbox.images.store import documents, layout
from devbox.images.store.layout import Descriptor, Layout
from devbox.model import ids

_MOST_TRIES = 10
_A_MOMENT = 0.1, 0.4  # seconds: longer than a concurrent read-modify-write of the list takes


class PushResult(NamedTuple):
    """Result of a push. Sizes in bytes: transferred, and already present in the registry."""

    digest: str
    sent: int
    skipped: int


def push(top: Descriptor, reference: Reference, *, oci: Layout, paths: Paths, on_transfer: OnTransfer) -> PushResult:
    """Push the image with all its referrers. Raises RegistryError."""
    nodes = complete_nodes(top, oci=oci, paths=paths, on_transfer=on_transfer)
    meter = Meter("pushing", on_transfer)
    work = _Push(
        RegistryRepository(RegistryConnection(credentials.get_origin(reference.host)), reference, pushes=True),
        oci,
        meter,
    )
    work.push_image(nodes)
    for node in nodes:
        work.push_referrers(node.descriptor.digest)
    work.tag(nodes[-1])
    oci.set_ref(str(reference._replace(digest="")) if reference.tag else str(reference), top)
    return PushResult(top.digest, meter.moved, meter.skipped)


def push_attached(top: Descriptor, reference: Reference, *, oci: Layout, on_transfer: OnTransfer) -> bool:
    """Push the referrers of an image; return False if the registry does not have the image."""
    repository = RegistryRepository(RegistryConnection(credentials.get_origin(reference.host)), reference, pushes=True)
    if not repository.resolve_digest(top.digest):
        return False
    work = _Push(repository, oci, Meter("pushing", on_transfer))
    for node in _list_known_nodes(top, oci):
        work.push_referrers(node.descriptor.digest)
    return True


class _Push:
    """One push to one repository."""

    def __init__(self, repository: RegistryRepository, oci: Layout, meter: Meter) -> None:
        self._repository = repository
        self._oci = oci
        self._meter = meter

    def push_image(self, nodes: Iterable[graph.Node]) -> None:
        """Push manifests with their blobs, children before their index."""
        missing = [node for node in nodes if not self._repository.resolve_digest(node.descriptor.digest)]
        blobs = {blob.digest: blob for node in missing for blob in node.blobs}
        self._meter.expect(sum(blob.size for blob in blobs.values()))
        near = self._find_mountable()

        def send(blob: Descriptor) -> None:
            upload(self._repository, blob, oci=self._oci, meter=self._meter, mount_from=near.get(blob.digest, ""))

        run_parallel(send, blobs.values())
        for node in missing:
            self._put_manifest(node.descriptor.digest, node)

    def push_referrers(self, digest: str) -> None:
        """Push the layout's referrers of a manifest, and legacy signature tags."""
        referring = [node for node in map(self._read_node, self._oci.list_unnamed()) if node.subject == digest]
        self.push_image(referring)
        for _ in range(_MOST_TRIES):
            known = self._repository.list_referrers(digest) if referring else []
            unlisted = [node for node in referring if not _is_among(known, node)]
            if not unlisted:
                break
            self._update_fallback_list(digest, known, unlisted)
            time.sleep(random.uniform(*_A_MOMENT))  # noqa: S311 - jitter
        for tag in graph.list_legacy_tags(digest):
            self._push_legacy_tag(tag)

    def _push_legacy_tag(self, tag: str) -> None:
        """Merge the layout's and the registry's content of a legacy tag."""
        named = {target for name, target in self._oci.read_refs().items() if name.rpartition(":")[2] == tag}
        if not named or {target.digest for target in named} == {self._repository.resolve_digest(tag)}:
            return
        known = [self._oci.read_json(target.digest) for target in sorted(named)]
        if current := self._repository.resolve_digest(tag):
            found = self._repository.fetch_manifest(current)
            graph.parse_node(found.descriptor, found.raw)
            known.insert(0, documents.parse(found.raw))
        if len(known) == 1:
            node = self._read_node(*named)
        else:
            listed = artifacts.merge_layers(known)
            config = self._oci.write_json(layout.CONFIG, artifacts.build_config(listed))
            node = self._read_node(self._oci.write_json(layout.MANIFEST, artifacts.build_manifest(listed, config)))
        self.push_image([node])
        self._put_manifest(tag, node)

    def tag(self, node: graph.Node) -> None:
        """Point the tag at the completely pushed image."""
        tag = self._repository.reference.tag
        if tag and self._repository.resolve_digest(tag) != node.descriptor.digest:
            self._put_manifest(tag, node)

    def _put_manifest(self, target: str, node: graph.Node) -> None:
        raw = self._oci.read_raw(node.descriptor.digest) or b""
        self._repository.put_manifest(target, node.descriptor.media_type, raw)
        self._meter.expect(len(raw))
        self._meter.move(len(raw))

    def _read_node(self, descriptor: Descriptor) -> graph.Node:
        return graph.parse_node(descriptor, self._oci.read_raw(descriptor.digest) or b"")

    def _update_fallback_list(self, digest: str, known: Iterable[dict[str, Any]], nodes: Iterable[graph.Node]) -> None:
        """Add to the list under the fallback tag, if the registry has no referrers API.

        Concurrent writers overwrite each other; the caller checks again after a moment.
        """
        listed = [*known]
        for node in nodes:
            plain = self._oci.read_json(node.descriptor.digest)
            kind = plain.get("artifactType") or node.blobs[0].media_type
            listed.append(node.descriptor.to_json(artifactType=kind, annotations=plain.get("annotations", {})))
        index = {"schemaVersion": 2, "mediaType": layout.INDEX, "manifests": listed}
        self._repository.put_manifest(graph.get_fallback_tag(digest), layout.INDEX, ids.encode_canonical_json(index))

    def _find_mountable(self) -> dict[str, str]:
        """Return blobs that, by the layout's names, exist in another repository of this registry: blob → repository."""
        own = self._repository.reference
        found: dict[str, str] = {}
        for name, target in self._oci.read_refs().items():
            other = find_origin(name)
            if other and other.host == own.host and other.repository != own.repository:
                for node in _list_known_nodes(target, self._oci):
                    found |= dict.fromkeys((blob.digest for blob in node.blobs), other.repository)
        return found


def _is_among(listed: Iterable[dict[str, Any]], node: graph.Node) -> bool:
    return any(each.get("digest") == node.descriptor.digest for each in listed)


def find_origin(name: str) -> Reference | None:
    """Return the reference that names an entry of the layout; None for locally built images."""
    return parse(name) if "/" in name else None


def complete_nodes(top: Descriptor, *, oci: Layout, paths: Paths, on_transfer: OnTransfer) -> list[graph.Node]:
    """Return all nodes of the image, children first; fetch those that were not pulled."""
    if nodes := _list_whole_nodes(top, oci):
        return nodes
    for name, target in oci.read_refs().items():
        came_from = find_origin(name)
        if came_from and target.digest == top.digest:
            exact = came_from._replace(tag="", digest=top.digest)
            pull(exact, oci=oci, paths=paths, on_transfer=on_transfer, all_platforms=True)
    if nodes := _list_whole_nodes(top, oci):
        return nodes
    raise RegistryError(
        f"incomplete image in the store, of unknown source: {top.digest}",
        remedy="devbox image pull --all-platforms REF",
    )


def _list_whole_nodes(top: Descriptor, oci: Layout) -> list[graph.Node]:
    """Return the nodes of an image if it is complete; [] otherwise."""
    nodes = _list_known_nodes(top, oci)
    named = {child.digest for node in nodes for child in node.children} | {top.digest}
    blobs = (blob.digest for node in nodes for blob in node.blobs)
    complete = named == {node.descriptor.digest for node in nodes} and all(map(oci.has_blob, blobs))
    return nodes if complete else []


def _list_known_nodes(top: Descriptor, oci: Layout) -> list[graph.Node]:
    """Return the nodes of an image that the layout has, children first."""
    raw = oci.read_raw(top.digest) if documents.is_digest(top.digest) and graph.is_manifest(top.media_type) else None
    if raw is None:
        return []
    node = graph.parse_node(top, raw)
    return [*(below for child in node.children for below in _list_known_nodes(child, oci)), node]
