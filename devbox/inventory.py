"""The images of all projects of a DEVBOX_HOME together: who needs what, how much it takes, what nobody needs.

A project needs what its file wants by its lock, with what its Dockerfiles begin with and what `[build]` puts out; what
it was last made from, its newest releases, and what of it runs.
A stage needs the releases that it runs or could go back to. An image that was pulled or imported by name stays until
`image rm`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from devbox.doctor.projects import Known, known, owners_of_deployments
from devbox.errors import DevboxError, HostError
from devbox.host.paths import Paths
from devbox.host.sizes import tree_size
from devbox.images import gc, reach, snapshots
from devbox.images.dockerfile import cache
from devbox.images.layout import Layout
from devbox.images.reach import Needed, Roots
from devbox.images.stepcache import StepCache
from devbox.isolation import state
from devbox.model.image import FromDockerfile, KeyedImage
from devbox.opened import open_project
from devbox.records.deployed import DeployedRecord
from devbox.records.hostfiles import HostFiles
from devbox.records.instance import InstanceRecords
from devbox.records.named_images import NamedImages
from devbox.records.releases import Releases
from devbox.verbs.images import wanted_images, wanted_output

BY_NAME = "pulled by name"  # in the place of a project
RELEASES_KEPT = 10  # of each project: the newest


@dataclass(frozen=True)
class Share:
    """Bytes on the disk that a project's images take: in all, and what no other project needs."""

    project: str
    total: int
    own: int


@dataclass(frozen=True)
class Usage:
    """Who takes what of the store. `unused`: what `image gc` would free; `build_cache`: buildah's, for Dockerfiles."""

    shares: tuple[Share, ...]
    shared: int
    unused: int
    build_cache: int
    total: int


@dataclass(frozen=True)
class Inventory:
    """The projects that are still there, each with what it needs; and what could not be found out."""

    roots: dict[str, Roots] = field(default_factory=dict)  # by the project's directory
    notes: tuple[str, ...] = ()

    def all(self) -> Roots:
        """What any of them needs."""
        together = Roots()
        for each in self.roots.values():
            together |= each
        return together


def look(paths: Paths) -> Inventory:
    """Ask every project."""
    roots: dict[str, Roots] = {}
    notes: list[str] = []
    roots[BY_NAME] = Roots(digests=frozenset(NamedImages(paths).all().values()))
    instances = known(paths)
    deployed = owners_of_deployments(instances, paths)
    for one in instances:
        roots[one.label] = roots.get(one.label, Roots()) | _running(paths, one.id)
        if not one.is_gone or one.id in deployed:
            roots[one.label] |= _released(paths, one.id) | _deployed(paths, one) | _remembered(paths, one.id)
        if one.is_project(paths) and not one.is_gone:
            roots[one.label] |= _wanted(one, notes)
    return Inventory({name: needs for name, needs in roots.items() if needs != Roots()}, tuple(notes))


def used_by(paths: Paths) -> dict[str, list[str]]:
    """The projects that need an image, by the digest of the image."""
    records, found = StepCache(paths).records(), dict[str, list[str]]()
    oci = Layout(paths.oci, lock=paths.lock("oci-index"))
    for name, roots in look(paths).roots.items():
        for digest in reach.needed(roots, records, oci).blobs:
            found.setdefault(digest, []).append(name)
    return found


def collect(paths: Paths, on_note: Callable[[str], None], *, dry_run: bool = False) -> gc.Garbage:
    """Remove what no project needs, or only say what that is."""

    def roots() -> Roots:
        found = look(paths)
        for note in found.notes:
            on_note(note)
        return found.all()

    if dry_run:
        return gc.look(paths, roots())
    return gc.collect(paths, roots, lambda: on_note("waiting until nobody bakes, pulls or starts anything"))


def usage(paths: Paths) -> Usage:
    """Measure the store."""
    oci, records = Layout(paths.oci, lock=paths.lock("oci-index")), StepCache(paths).records()
    sizes = {("blob", digest): tree_size(oci.blob(digest)) for digest in oci.digests()}
    for diff_id in snapshots.present(paths):
        sizes["snapshot", diff_id] = snapshots.size(paths, diff_id)
    found = look(paths).roots
    takes = {name: _pieces(reach.needed(roots, records, oci)) & sizes.keys() for name, roots in found.items()}
    users = {piece: sum(piece in pieces for pieces in takes.values()) for piece in sizes}
    shares = tuple(
        Share(name, sum(sizes[each] for each in pieces), sum(sizes[each] for each in pieces if users[each] == 1))
        for name, pieces in sorted(takes.items())
    )
    build_cache = tree_size(paths.buildah)
    away = cache.unwanted(paths, frozenset[str]().union(*(roots.dockerfiles for roots in found.values())))
    return Usage(
        shares,
        shared=sum(size for piece, size in sizes.items() if users[piece] > 1),
        unused=sum(size for piece, size in sizes.items() if not users[piece]) + (away.size if away else build_cache),
        build_cache=build_cache,
        total=sum(sizes.values()) + build_cache,
    )


def _pieces(needed: Needed) -> set[tuple[str, str]]:
    return {("blob", digest) for digest in needed.blobs} | {("snapshot", diff_id) for diff_id in needed.snapshots}


def _wanted(one: Known, notes: list[str]) -> Roots:
    """What the file wants as it is now, by its lock."""
    if not one.root:
        return Roots()
    try:
        opened = open_project(one.root, file=one.env_file)
        output = wanted_output(opened)
        return _keys(wanted_images(opened)) | Roots(keys=frozenset({output} if output else ()))
    except (DevboxError, OSError, ValueError) as error:  # one project's files never stop what is done for all
        sentence = error.sentence if isinstance(error, DevboxError) else str(error)
        notes.append(f"{one.label}: only what it was last made from is kept, since {sentence}")
        return Roots()


def _remembered(paths: Paths, instance: str) -> Roots:
    """What the project was last made from."""
    return _keys(InstanceRecords(paths, instance).last().images.values())


def _released(paths: Paths, instance: str) -> Roots:
    """The images of the newest releases."""
    kept = Releases(paths, instance).all()[:RELEASES_KEPT]
    return Roots(digests=frozenset(release.image for release in kept))


def _deployed(paths: Paths, one: Known) -> Roots:
    """The images of every release that a stage runs or could go back to. What can't be read stops everything.

    HostError for a stage in a home that this host keeps nothing about: what it runs is not known here.
    """
    record = DeployedRecord(paths, one.id)
    if one.stage and not record.exists and not HostFiles(paths).is_known:
        raise HostError(
            f"cannot tell which images {one.label} needs: {paths.host_files} does not exist",
            remedy="export DEVBOX_CONFIG=DIR, as for its promotion, or promote to it again",
        )
    return Roots(digests=frozenset(each.release.image for each in record.read().all))


def _running(paths: Paths, instance: str) -> Roots:
    """What containers run on, also those of a project whose directory is gone. What can't be read stops everything."""
    _, now = state.look(paths, instance)
    rows = now.containers if now else ()
    return Roots(frozenset(row.image_key for row in rows), frozenset(row.digest for row in rows))


def _keys(images: Iterable[KeyedImage]) -> Roots:
    every = tuple(images)
    steps = [link for image in every for link in image.chain]
    dockerfiles = [link.step for link in steps if isinstance(link.step, FromDockerfile)]
    return Roots(
        keys=frozenset({image.key for image in every} | {link.key for link in steps}),
        digests=frozenset(digest for step in dockerfiles for digest in (step.pins or step.prefer).values()),
        dockerfiles=frozenset(map(cache.name_of, dockerfiles)),
    )
