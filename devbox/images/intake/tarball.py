"""A tarball of the project as an image: a root file system becomes its one layer, an archive is imported."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import IO, cast

from devbox.errors import BakeFailed
from devbox.host import beneath
from devbox.host.paths import Paths
from devbox.host.sizes import room
from devbox.images import layout, manifest, snapshots
from devbox.images.assembled import assembled
from devbox.images.intake import found as finding
from devbox.images.intake import store as intake
from devbox.images.intake.contents import ANEW, Place, Watched
from devbox.images.layout import Layout
from devbox.images.packing import Hashed
from devbox.images.pulled import Puller
from devbox.images.registry.progress import Meter, OnTransfer
from devbox.images.runconfig import run_config
from devbox.images.tarstream import CHUNK, TarStream
from devbox.model.image import Baked, FromTarball, Layer, describe

# What an archive of images begins with; a root file system begins with "." or one of its directories.
_OF_ARCHIVES = ("oci-layout", "index.json", "manifest.json", "repositories", "blobs")
_DIGITS = re.compile(r"[0-9a-f]{64}(\.json|\.tar)?")


class Importer:
    """Has tarballs of a project ready to run. Safe to use from several threads and processes at once."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._oci = Layout(paths.oci, lock=paths.lock("oci-index"))

    def take(self, step: FromTarball, key: str, name: str, on_transfer: OnTransfer) -> Baked:
        """The image, its layers unpacked. `name` is the layout's."""
        with _opened(step) as (source, size):
            meter = Meter("reading", on_transfer)
            meter.expect(size)
            blob = Hashed(cast("IO[bytes]", Watched(source, meter)), wanted=True)
            if _is_archive(step):
                return self._image(step, blob, key, name)
            return self._root(step, blob, key, name)

    def _image(self, step: FromTarball, blob: Hashed, key: str, name: str) -> Baked:
        with intake.opened(cast("IO[bytes]", blob), paths=self._paths, on_transfer=lambda _: None) as contents:
            one = finding.only(finding.images(contents))
            _check(step, blob)
            intake.enter([one._replace(names=(name,))], paths=self._paths)
        return Puller(self._paths).ready(one.top, key)

    def _root(self, step: FromTarball, blob: Hashed, key: str, name: str) -> Baked:
        """The tar, unpacked, is the layer: equal trees packed in two ways are equal images."""
        layer = self._layer(step, blob)
        Puller(self._paths).unpack([layer])
        run = run_config(None)
        document = manifest.image_config(run, [layer], [f"devbox: {describe(step)}"])
        return assembled(self._oci, [layer], document, name=name, key=key, run=run)

    def _layer(self, step: FromTarball, blob: Hashed) -> Layer:
        with intake.new_place(self._paths) as place:
            out = Place(place, Meter("", lambda _: None))
            staged = out.write(_content(TarStream(cast("IO[bytes]", blob), None, what=step.path, most=room(place))))
            _check(step, blob)
            self._oci.create()
            snapshots.flush(place)
            self._oci.adopt(staged.path, staged.digest)
        return Layer(digest=staged.digest, diff_id=staged.digest, size=staged.size, media_type=layout.LAYER)


@contextlib.contextmanager
def _opened(step: FromTarball) -> Iterator[tuple[IO[bytes], int]]:
    """The file and its size."""
    with contextlib.ExitStack() as stack:
        try:
            source = stack.enter_context(beneath.opened(step.root, step.path))
        except OSError as error:
            raise BakeFailed(
                f"the tarball {step.root}/{step.path} can't be read: {error.strerror}",
                remedy="put it there, then devbox up",
            ) from None
        yield source, os.fstat(source.fileno()).st_size


def _check(step: FromTarball, blob: Hashed) -> None:
    """It must be what it was when it was looked at: the image's key says so."""
    while blob.read(CHUNK):
        pass
    if blob.digest() != step.content:
        raise BakeFailed(f"{step.path} was changed while it was read", remedy="when it is complete: devbox up")


def _content(stream: TarStream) -> Iterator[bytes]:
    try:
        while data := stream.content(CHUNK):
            yield data
    except BakeFailed as error:
        raise BakeFailed(error.sentence, remedy=ANEW) from None


def _is_archive(step: FromTarball) -> bool:
    """Whether a tarball holds an image and not a root file system, by its first file."""
    with _opened(step) as (source, _):
        for entry in TarStream(source, None, what=f"{step.root}/{step.path}").entries():
            first = entry.name.strip("./").partition("/")[0]
            if first:
                return first in _OF_ARCHIVES or _DIGITS.fullmatch(first) is not None
    return False
