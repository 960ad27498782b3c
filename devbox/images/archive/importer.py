"""Importing: the images of an archive or an OCI layout into the store, to the byte, or nothing of them."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from typing import IO, NamedTuple, cast

from devbox.errors import BakeFailed, UsageError
from devbox.host import disk, files, project, safe_files
from devbox.host.disk import get_free_space
from devbox.host.paths import Paths
from devbox.images.archive import found as finding
from devbox.images.archive.contents import (
    REWRITE_REMEDY,
    Contents,
    DirectoryContents,
    MeteredFile,
    StagingDirectory,
    TarContents,
)
from devbox.images.archive.found import ArchivedImage
from devbox.images.bake.pulled import Puller
from devbox.images.layers.compression import HashedFile
from devbox.images.layers.tar import CHUNK, TarStream
from devbox.images.registry.blobs import Meter, OnTransfer
from devbox.images.registry.reference import Reference
from devbox.images.store import layout, lock, manifest, snapshots
from devbox.images.store.layout import Descriptor, Layout
from devbox.images.store.manifest import parse_run_config, write_image
from devbox.model.image import BakedImage, FromTarball, Layer, describe

_PLACE = "import"  # what the places of imports are called; who imports holds its lock, shared
_SHORT = 12  # digits of the digest in the name of an image that brings none


class ImportedImage(NamedTuple):
    """An image that came into the store, by one of its names; the platforms whose layers did not come along."""

    name: str
    top: Descriptor
    absent: tuple[str, ...]


def import_images(
    source: str | IO[bytes], *, paths: Paths, name: Reference | None, on_transfer: OnTransfer
) -> list[ImportedImage]:
    """Have all images of an archive (its path, or the open file) or a layout directory in the store, and name them.

    With `name` there must be one image, which is called so and nothing else. Nothing is there before all is checked.
    """
    with lock.lock_shared(paths), open_contents(source, paths=paths, on_transfer=on_transfer) as contents:
        images = finding.read_images(contents)
        if name:
            one = finding.require_single(images)
            images = [one._replace(names=(str(name),)), *(each for each in images if each.subject)]
        return commit_images(images, paths=paths)


def commit_images(images: list[ArchivedImage], *, paths: Paths) -> list[ImportedImage]:
    """Move checked images in: blobs, then names. A kill at any moment leaves only what collection removes."""
    oci = Layout(paths.oci, lock=paths.lock("oci-index"))
    oci.create()
    snapshots.flush(paths.tmp)
    for image in images:
        for digest, staged in image.blobs.items():
            if not oci.has_blob(digest) and os.path.exists(
                staged.path
            ):  # an image before it may have had the same blob
                oci.adopt(staged.path, digest)
    imported = []
    for image in images:
        if image.subject:
            oci.add_unnamed(image.top)
            continue
        for name in image.names or _find_known_names(image.top, oci):
            oci.set_ref(name, image.top)
            imported.append(ImportedImage(name, image.top, image.absent))
    return imported


def _find_known_names(top: Descriptor, oci: Layout) -> tuple[str, ...]:
    """What the store calls an image that brings no name."""
    known = tuple(name for name, target in oci.read_refs().items() if target == top)
    return known or (f"imported-{top.digest.removeprefix('sha256:')[:_SHORT]}",)


@contextlib.contextmanager
def open_contents(source: str | IO[bytes], *, paths: Paths, on_transfer: OnTransfer) -> Iterator[Contents]:
    """The files of an archive or a layout, on the disk until this ends."""
    with create_workdir(paths) as place:
        yield _read_contents(source, place, Meter("reading", on_transfer))


@contextlib.contextmanager
def create_workdir(paths: Paths) -> Iterator[str]:
    """A directory of the store, gone when this ends. What a killed import leaves in it, `sweep` removes."""
    with files.lock_file(snapshots.get_step_lock(paths, _PLACE), shared=True):
        place = snapshots.create_workdir(paths, _PLACE)
        try:
            yield place
        finally:
            disk.remove(place)


def _read_contents(source: str | IO[bytes], place: str, meter: Meter) -> Contents:
    if not isinstance(source, str):
        return TarContents(cast("IO[bytes]", MeteredFile(source, meter)), place, meter)
    if os.path.isdir(source):
        return DirectoryContents(source, place, meter)
    with open_file(source) as archive:
        meter.expect(os.fstat(archive.fileno()).st_size)
        return TarContents(cast("IO[bytes]", MeteredFile(archive, meter)), place, meter)


def open_file(path: str) -> IO[bytes]:
    """A file to read. Raises UsageError where there is none."""
    root, inner = project.find_by_file(path)
    try:
        if root:
            with safe_files.ProjectDirectory(root) as directory:
                return open(directory.open(inner), "rb")
        archive = open(path, "rb")  # noqa: SIM115 - the caller closes it
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}", remedy="look at its spelling; - is the standard input") from None
    except safe_files.UnusablePath as error:
        raise safe_files.make_error("read", root, inner, error) from None
    kind = os.fstat(archive.fileno()).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):
        raise UsageError(f"{path} is no file", remedy="name an archive, or the directory of an OCI image layout")
    return archive


# What an archive of images begins with; a root file system begins with "." or one of its directories.
_OF_ARCHIVES = ("oci-layout", "index.json", "manifest.json", "repositories", "blobs")
_DIGITS = re.compile(r"[0-9a-f]{64}(\.json|\.tar)?")


class Importer:
    """Has tarballs of a project ready to run. Safe to use from several threads and processes at once."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._oci = Layout(paths.oci, lock=paths.lock("oci-index"))

    def import_tarball(self, step: FromTarball, key: str, name: str, on_transfer: OnTransfer) -> BakedImage:
        """The image, its layers unpacked. `name` is the layout's."""
        with _open_tarball(step) as (source, size):
            meter = Meter("reading", on_transfer)
            meter.expect(size)
            blob = HashedFile(cast("IO[bytes]", MeteredFile(source, meter)), wanted=True)
            if _is_archive(step):
                return self._import_image(step, blob, key, name)
            return self._import_root(step, blob, key, name)

    def _import_image(self, step: FromTarball, blob: HashedFile, key: str, name: str) -> BakedImage:
        with open_contents(cast("IO[bytes]", blob), paths=self._paths, on_transfer=lambda _: None) as contents:
            one = finding.require_single(finding.read_images(contents))
            _check_content(step, blob)
            commit_images([one._replace(names=(name,))], paths=self._paths)
        return Puller(self._paths).prepare(one.top, key)

    def _import_root(self, step: FromTarball, blob: HashedFile, key: str, name: str) -> BakedImage:
        """The tar, unpacked, is the layer: equal trees packed in two ways are equal images."""
        layer = self._import_layer(step, blob)
        Puller(self._paths).unpack([layer])
        run = parse_run_config(None)
        document = manifest.build_image_config(run, [layer], [f"devbox: {describe(step)}"])
        return write_image(self._oci, [layer], document, name=name, key=key, run=run)

    def _import_layer(self, step: FromTarball, blob: HashedFile) -> Layer:
        with create_workdir(self._paths) as place:
            out = StagingDirectory(place, Meter("", lambda _: None))
            staged = out.write(
                _read_content(TarStream(cast("IO[bytes]", blob), None, what=step.path, most=get_free_space(place)))
            )
            _check_content(step, blob)
            self._oci.create()
            snapshots.flush(place)
            self._oci.adopt(staged.path, staged.digest)
        return Layer(digest=staged.digest, diff_id=staged.digest, size=staged.size, media_type=layout.LAYER)


@contextlib.contextmanager
def _open_tarball(step: FromTarball) -> Iterator[tuple[IO[bytes], int]]:
    """The file and its size."""
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(safe_files.open_regular(step.root, step.path))
        except OSError as error:
            raise BakeFailed(
                f"the tarball {step.root}/{step.path} can't be read: {error.strerror}",
                remedy="put it there, then devbox up",
            ) from None
        yield source, os.fstat(source.fileno()).st_size


def _check_content(step: FromTarball, blob: HashedFile) -> None:
    """It must be what it was when it was looked at: the image's key says so."""
    while blob.read(CHUNK):
        pass
    if blob.get_digest() != step.content:
        raise BakeFailed(f"{step.path} was changed while it was read", remedy="when it is complete: devbox up")


def _read_content(stream: TarStream) -> Iterator[bytes]:
    try:
        while data := stream.read_content(CHUNK):
            yield data
    except BakeFailed as error:
        raise BakeFailed(error.sentence, remedy=REWRITE_REMEDY) from None


def _is_archive(step: FromTarball) -> bool:
    """Whether a tarball holds an image and not a root file system, by its first file."""
    with _open_tarball(step) as (source, _):
        for entry in TarStream(source, None, what=f"{step.root}/{step.path}").read_entries():
            first = entry.name.strip("./").partition("/")[0]
            if first:
                return first in _OF_ARCHIVES or _DIGITS.fullmatch(first) is not None
    return False
