"""Importing: the images of an archive or an OCI layout into the store, to the byte, or nothing of them."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import IO, NamedTuple, cast

from devbox.errors import UsageError
from devbox.host import beneath, files, project, removal
from devbox.host.paths import Paths
from devbox.images import gate, snapshots
from devbox.images.intake import found as finding
from devbox.images.intake.contents import Contents, DirectoryContents, TarContents, Watched
from devbox.images.intake.found import Found
from devbox.images.layout import Descriptor, Layout
from devbox.images.registry.progress import Meter, OnTransfer
from devbox.images.registry.reference import Reference

_PLACE = "import"  # what the places of imports are called; who imports holds its lock, shared
_SHORT = 12  # digits of the digest in the name of an image that brings none


class Imported(NamedTuple):
    """An image that came into the store, by one of its names; the platforms whose layers did not come along."""

    name: str
    top: Descriptor
    absent: tuple[str, ...]


def read(source: str | IO[bytes], *, paths: Paths, name: Reference | None, on_transfer: OnTransfer) -> list[Imported]:
    """Have all images of an archive (its path, or the open file) or a layout directory in the store, and name them.

    With `name` there must be one image, which is called so and nothing else. Nothing is there before all is checked.
    """
    with gate.kept(paths), opened(source, paths=paths, on_transfer=on_transfer) as contents:
        images = finding.images(contents)
        if name:
            one = finding.only(images)
            images = [one._replace(names=(str(name),)), *(each for each in images if each.subject)]
        return enter(images, paths=paths)


def enter(images: list[Found], *, paths: Paths) -> list[Imported]:
    """Move checked images in: blobs, then names. A kill at any moment leaves only what collection removes."""
    oci = Layout(paths.oci, lock=paths.lock("oci-index"))
    oci.create()
    snapshots.flush(paths.tmp)
    for image in images:
        for digest, staged in image.blobs.items():
            if not oci.has(digest) and os.path.exists(staged.path):  # an image before it may have had the same blob
                oci.adopt(staged.path, digest)
    imported = []
    for image in images:
        if image.subject:
            oci.add_nameless(image.top)
            continue
        for name in image.names or _known_as(image.top, oci):
            oci.set_ref(name, image.top)
            imported.append(Imported(name, image.top, image.absent))
    return imported


def _known_as(top: Descriptor, oci: Layout) -> tuple[str, ...]:
    """What the store calls an image that brings no name."""
    known = tuple(name for name, target in oci.refs().items() if target == top)
    return known or (f"imported-{top.digest.removeprefix('sha256:')[:_SHORT]}",)


@contextlib.contextmanager
def opened(source: str | IO[bytes], *, paths: Paths, on_transfer: OnTransfer) -> Iterator[Contents]:
    """The files of an archive or a layout, on the disk until this ends."""
    with new_place(paths) as place:
        yield _contents(source, place, Meter("reading", on_transfer))


@contextlib.contextmanager
def new_place(paths: Paths) -> Iterator[str]:
    """A directory of the store, gone when this ends. What a killed import leaves in it, `sweep` removes."""
    with files.locked(snapshots.step_lock(paths, _PLACE), shared=True):
        place = snapshots.new_place(paths, _PLACE)
        try:
            yield place
        finally:
            removal.remove(place)


def _contents(source: str | IO[bytes], place: str, meter: Meter) -> Contents:
    if not isinstance(source, str):
        return TarContents(cast("IO[bytes]", Watched(source, meter)), place, meter)
    if os.path.isdir(source):
        return DirectoryContents(source, place, meter)
    with open_file(source) as archive:
        meter.expect(os.fstat(archive.fileno()).st_size)
        return TarContents(cast("IO[bytes]", Watched(archive, meter)), place, meter)


def open_file(path: str) -> IO[bytes]:
    """A file to read. Raises UsageError where there is none."""
    root, inner = project.of_file(path)
    try:
        if root:
            with beneath.Project(root) as directory:
                return open(directory.open(inner), "rb")
        archive = open(path, "rb")  # noqa: SIM115 - the caller closes it
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}", remedy="look at its spelling; - is the standard input") from None
    except beneath.Unusable as error:
        raise beneath.refusal("read", root, inner, error) from None
    kind = os.fstat(archive.fileno()).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):
        raise UsageError(f"{path} is no file", remedy="name an archive, or the directory of an OCI image layout")
    return archive
