"""Image import from an archive or OCI layout into the store: byte-exact, all or nothing."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from typing import IO, NamedTuple, cast

from devbox.errors import BakeFailed, UsageError
from devbox.host import disk, files, project, safe_files
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
from devbox.images.bake.pulled import Puller
from devbox.images.layers.compression import HashedFile
from devbox.images.layers.tar import CHUNK, TarStream
from devbox.images.registry.blobs import Meter, OnTransfer
from devbox.images.registry.reference import Reference
from devbox.images.store import layout, lock, manifest, snapshots
from devbox.images.store.layout import Descriptor, Layout
from devbox.model.image import BakedImage, FromTarball, Layer, describe

_PLACE = "import"  # name of the import work directories; importers hold its lock shared
_SHORT = 12  # digits of the digest in the generated name of an unnamed image


class ImportedImage(NamedTuple):
    """An imported image under one of its names, with the platforms whose layers were missing."""

    name: str
    top: Descriptor
    absent: tuple[str, ...]


def import_images(
    source: str | IO[bytes], *, paths: Paths, name: Reference | None, on_transfer: OnTransfer
) -> list[ImportedImage]:
    """Import and name all images of an archive (a path or open file) or a layout directory.

    `name` requires a single image and replaces its names. The store is not changed before everything is verified.
    """
    with lock.lock_shared(paths), open_contents(source, paths=paths, on_transfer=on_transfer) as contents:
        images = finding.read_images(contents)
        if name:
            one = finding.require_single(images)
            images = [one._replace(names=(str(name),)), *(each for each in images if each.subject)]
        return commit_images(images, paths=paths)


def commit_images(images: list[finding.ArchivedImage], *, paths: Paths) -> list[ImportedImage]:
    """Move verified images in: blobs, then names. After a kill at any point, garbage collection cleans up."""
    oci = Layout(paths.oci, lock=paths.lock("oci-index"))
    oci.create()
    snapshots.flush(paths.tmp)
    for image in images:
        for digest, staged in image.blobs.items():
            if not oci.has_blob(digest) and os.path.exists(
                staged.path
            ):  # an earlier image may have contained the same blob
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
    """Return the store's names of an image that has none of its own."""
    known = tuple(name for name, target in oci.read_refs().items() if target == top)
    return known or (f"imported-{top.digest.removeprefix('sha256:')[:_SHORT]}",)


@contextlib.contextmanager
def open_contents(source: str | IO[bytes], *, paths: Paths, on_transfer: OnTransfer) -> Iterator[Contents]:
    """Open the files of an archive or layout, on disk for the duration of the context."""
    with create_workdir(paths) as place:
        yield _read_contents(source, place, Meter("reading", on_transfer))


@contextlib.contextmanager
def create_workdir(paths: Paths) -> Iterator[str]:
    """Create a temporary directory of the store; `sweep` removes those of killed imports."""
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
    """Open a file for reading; raise UsageError if it is missing."""
    root, inner = project.find_by_file(path)
    try:
        if root:
            with safe_files.ProjectDirectory(root) as directory:
                return open(directory.open(inner), "rb")
        archive = open(path, "rb")  # noqa: SIM115 - the caller closes it
    except FileNotFoundError:
        raise UsageError(f"{path} not found", remedy="check the spelling (- reads standard input)") from None
    except safe_files.UnusablePath as error:
        raise safe_files.make_error("read", root, inner, error) from None
    kind = os.fstat(archive.fileno()).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISFIFO(kind)):
        raise UsageError(
            f"invalid archive {path}: not a file", remedy="name an archive, or the directory of an OCI image layout"
        )
    return archive


# First entries of an image archive; a root file system starts with "." or one of its directories.
_OF_ARCHIVES = ("oci-layout", "index.json", "manifest.json", "repositories", "blobs")
_DIGITS = re.compile(r"[0-9a-f]{64}(\.json|\.tar)?")


class Importer:
    """Prepares tarballs of a project for use as images. Safe for concurrent threads and processes."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._oci = Layout(paths.oci, lock=paths.lock("oci-index"))

    def import_tarball(self, step: FromTarball, key: str, name: str, on_transfer: OnTransfer) -> BakedImage:
        """Return the image with unpacked layers, stored in the layout as `name`."""
        with _open_tarball(step) as (source, size):
            meter = Meter("reading", on_transfer)
            meter.expect(size)
            blob = HashedFile(cast("IO[bytes]", MeteredFile(source, meter)), hashes=True)
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
        """Use the decompressed tar as the layer: equal trees with different compression give equal images."""
        layer = self._import_layer(step, blob)
        Puller(self._paths).unpack([layer])
        run = manifest.parse_run_config(None)
        document = manifest.build_image_config(run, [layer], [f"devbox: {describe(step)}"])
        return manifest.write_image(self._oci, [layer], document, name=name, key=key, run=run)

    def _import_layer(self, step: FromTarball, blob: HashedFile) -> Layer:
        with create_workdir(self._paths) as place:
            out = StagingDirectory(place, Meter("", lambda _: None))
            staged = out.write(
                _read_content(TarStream(cast("IO[bytes]", blob), None, what=step.path, most=disk.get_free_space(place)))
            )
            _check_content(step, blob)
            self._oci.create()
            snapshots.flush(place)
            self._oci.adopt(staged.path, staged.digest)
        return Layer(digest=staged.digest, diff_id=staged.digest, size=staged.size, media_type=layout.LAYER)


@contextlib.contextmanager
def _open_tarball(step: FromTarball) -> Iterator[tuple[IO[bytes], int]]:
    """Open the tarball; yield the file and its size."""
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(safe_files.open_regular(step.root, step.path))
        except OSError as error:
            raise BakeFailed(
                f"cannot read the tarball {step.root}/{step.path}: {error.strerror}",
                remedy="create it, then run devbox up",
            ) from None
        yield source, os.fstat(source.fileno()).st_size


def _check_content(step: FromTarball, blob: HashedFile) -> None:
    """Verify that the content is still the one in the image's key."""
    while blob.read(CHUNK):
        pass
    if blob.get_digest() != step.content:
        raise BakeFailed(f"{step.path} changed while being read", remedy="once it is complete: devbox up")


def _read_content(stream: TarStream) -> Iterator[bytes]:
    try:
        while data := stream.read_content(CHUNK):
            yield data
    except BakeFailed as error:
        raise BakeFailed(error.sentence, remedy=REWRITE_REMEDY) from None


def _is_archive(step: FromTarball) -> bool:
    """Return whether a tarball is an image archive rather than a root file system, judged by its first file."""
    with _open_tarball(step) as (source, _):
        for entry in TarStream(source, None, what=f"{step.root}/{step.path}").read_entries():
            first = entry.name.strip("./").partition("/")[0]
            if first:
                return first in _OF_ARCHIVES or _DIGITS.fullmatch(first) is not None
    return False
