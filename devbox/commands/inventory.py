"""Images of all projects of a DEVBOX_HOME: users, disk usage and garbage.

A project needs the images of its file by the lockfile, with the bases of Dockerfiles and the output of `[build]`; its
last applied images, its newest releases, and images of running containers. A stage needs its current and previous
releases. Images pulled or imported by name stay until `image rm`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from devbox.commands.images import find_wanted_output, list_wanted_images
from devbox.doctor.leftovers import KnownInstance, find_deployment_owners, list_instances
from devbox.engines.select import select_engine
from devbox.errors import DevboxError, HostError
from devbox.host.disk import measure_tree
from devbox.host.paths import Paths
from devbox.images import gc, reachable
from devbox.images.dockerfile import cache
from devbox.images.reachable import ReachableData, Roots
from devbox.images.store import snapshots
from devbox.images.store.layout import Layout
from devbox.images.store.step_cache import StepCache
from devbox.isolation import state
from devbox.model.image import FromDockerfile, KeyedImage
from devbox.project import open_project
from devbox.records.deployed import DeployedRecord
from devbox.records.host_files import HostFiles
from devbox.records.installed import NamedImages
from devbox.records.instance import InstanceRecords
from devbox.records.releases import Releases

BY_NAME = "pulled by name"  # instead of a project
RELEASES_KEPT = 10  # newest releases per project


@dataclass(frozen=True)
class Share:
    """Disk usage of a project's images in bytes: total, and exclusive to the project."""

    project: str
    total: int
    own: int


@dataclass(frozen=True)
class Usage:
    """Disk usage of the store. `unused`: bytes freed by `image gc`; `build_cache`: buildah's, for Dockerfiles."""

    shares: tuple[Share, ...]
    shared: int
    unused: int
    build_cache: int
    total: int


@dataclass(frozen=True)
class Inventory:
    """Existing projects with their required images, and notes about failures."""

    roots: dict[str, Roots] = field(default_factory=dict)  # by project directory
    notes: tuple[str, ...] = ()

    def merge_roots(self) -> Roots:
        """Return the union of all requirements."""
        together = Roots()
        for each in self.roots.values():
            together |= each
        return together


def collect_inventory(paths: Paths) -> Inventory:
    """Collect the requirements of every project. UsageError for an unknown engine, before any file is read."""
    select_engine(paths)
    roots: dict[str, Roots] = {}
    notes: list[str] = []
    roots[BY_NAME] = Roots(digests=frozenset(NamedImages(paths).read_images().values()))
    instances = list_instances(paths)
    deployed = find_deployment_owners(instances, paths)
    for one in instances:
        roots[one.label] = roots.get(one.label, Roots()) | _find_running(paths, one.id)
        if not one.is_gone or one.id in deployed:
            roots[one.label] |= (
                _find_released(paths, one.id) | _find_deployed(paths, one) | _find_last_applied(paths, one.id)
            )
        if one.is_project(paths) and not one.is_gone:
            roots[one.label] |= _find_wanted(one, notes)
    return Inventory({name: needs for name, needs in roots.items() if needs != Roots()}, tuple(notes))


def find_users(paths: Paths) -> dict[str, list[str]]:
    """Map image digests to the projects that need them."""
    records, found = StepCache(paths).read_records(), dict[str, list[str]]()
    oci = Layout(paths.oci, lock=paths.lock("oci-index"))
    for name, roots in collect_inventory(paths).roots.items():
        for digest in reachable.find_needed(roots, records, oci).blobs:
            found.setdefault(digest, []).append(name)
    return found


def collect_garbage(paths: Paths, on_note: Callable[[str], None], *, dry_run: bool = False) -> gc.Garbage:
    """Remove what no project needs; with `dry_run`, only return it."""

    def roots() -> Roots:
        found = collect_inventory(paths)
        for note in found.notes:
            on_note(note)
        return found.merge_roots()

    if dry_run:
        return gc.find_garbage(paths, roots())
    return gc.collect(paths, roots, lambda: on_note("waiting for running bakes, pulls and starts to end"))


def measure_usage(paths: Paths) -> Usage:
    """Measure the disk usage of the store."""
    oci, records = Layout(paths.oci, lock=paths.lock("oci-index")), StepCache(paths).read_records()
    sizes = {("blob", digest): measure_tree(oci.get_blob_path(digest)) for digest in oci.list_digests()}
    for diff_id in snapshots.list_snapshots(paths):
        sizes["snapshot", diff_id] = snapshots.measure_size(paths, diff_id)
    found = collect_inventory(paths).roots
    takes = {
        name: _list_pieces(reachable.find_needed(roots, records, oci)) & sizes.keys() for name, roots in found.items()
    }
    users = {piece: sum(piece in pieces for pieces in takes.values()) for piece in sizes}
    shares = tuple(
        Share(name, sum(sizes[each] for each in pieces), sum(sizes[each] for each in pieces if users[each] == 1))
        for name, pieces in sorted(takes.items())
    )
    build_cache = measure_tree(paths.buildah)
    unused = cache.find_unwanted(paths, frozenset[str]().union(*(roots.dockerfiles for roots in found.values())))
    return Usage(
        shares,
        shared=sum(size for piece, size in sizes.items() if users[piece] > 1),
        unused=sum(size for piece, size in sizes.items() if not users[piece])
        + (unused.size if unused else build_cache),
        build_cache=build_cache,
        total=sum(sizes.values()) + build_cache,
    )


def _list_pieces(needed: ReachableData) -> set[tuple[str, str]]:
    return {("blob", digest) for digest in needed.blobs} | {("snapshot", diff_id) for diff_id in needed.snapshots}


def _find_wanted(one: KnownInstance, notes: list[str]) -> Roots:
    """Return the requirements of the current file, by its lockfile."""
    if not one.root:
        return Roots()
    try:
        project = open_project(one.root, file=one.env_file)
        output = find_wanted_output(project)
        return _collect_keys(list_wanted_images(project)) | Roots(keys=frozenset({output} if output else ()))
    except (DevboxError, OSError, ValueError) as error:  # one project's files must never stop the others
        sentence = error.sentence if isinstance(error, DevboxError) else str(error)
        notes.append(f"{one.label}: keeping only its last applied images: {sentence}")
        return Roots()


def _find_last_applied(paths: Paths, instance: str) -> Roots:
    """Return the requirements of the last applied spec."""
    return _collect_keys(InstanceRecords(paths, instance).read_last_applied().images.values())


def _find_released(paths: Paths, instance: str) -> Roots:
    """Return the images of the newest releases."""
    kept = Releases(paths, instance).list_releases()[:RELEASES_KEPT]
    return Roots(digests=frozenset(release.image for release in kept))


def _find_deployed(paths: Paths, one: KnownInstance) -> Roots:
    """Return the images of a stage's current and previous releases. Unreadable records are errors.

    HostError for a stage of a home unknown to this host: its releases are not known here.
    """
    record = DeployedRecord(paths, one.id)
    if one.stage and not record.exists and not HostFiles(paths).is_known:
        raise HostError(
            f"cannot determine the images of {one.label}: {paths.host_files} not found",
            remedy="export DEVBOX_CONFIG=DIR as for its promotion, or promote again",
        )
    return Roots(digests=frozenset(each.release.image for each in record.read().all_deployments))


def _find_running(paths: Paths, instance: str) -> Roots:
    """Return the images of running containers, also of removed projects. Unreadable state is an error."""
    _, now = state.observe_state(paths, instance)
    rows = now.containers if now else ()
    return Roots(frozenset(row.image_key for row in rows), frozenset(row.digest for row in rows))


def _collect_keys(images: Iterable[KeyedImage]) -> Roots:
    every = tuple(images)
    steps = [link for image in every for link in image.chain]
    dockerfiles = [link.step for link in steps if isinstance(link.step, FromDockerfile)]
    return Roots(
        keys=frozenset({image.key for image in every} | {link.key for link in steps}),
        digests=frozenset(digest for step in dockerfiles for digest in (step.pins or step.prefer).values()),
        dockerfiles=frozenset(map(cache.compute_name, dockerfiles)),
    )
