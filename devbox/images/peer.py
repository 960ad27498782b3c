"""An image of the store into another engine of this machine: by its own `load`, and looked at afterwards."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import IO, Any

from devbox.errors import CommandFailed, EngineError, HostError
from devbox.host import process
from devbox.host.paths import Paths
from devbox.images import archive, inspect
from devbox.images.layout import Descriptor, Layout
from devbox.images.registry import graph
from devbox.images.registry.progress import OnTransfer
from devbox.images.registry.reference import Reference
from devbox.model import jsontext

_LOOK = 60.0
_TOLD = 2000  # bytes of what a failed `load` said last


def load(top: Descriptor, *, paths: Paths, engine: str, name: Reference, on_transfer: OnTransfer) -> str:
    """Have what this machine runs of the image in the engine, called `name`; its id there, which is this image's."""
    program = process.find(engine)
    _answer([program, "version"], engine, "does not answer")
    own = inspect.own_node(top, Layout(paths.oci, lock=paths.lock("oci-index")))
    kind, wanted = ("docker", top) if engine == "docker" else ("oci", own.descriptor)
    with tempfile.TemporaryFile() as said:
        read, write = os.pipe()
        loading = process.spawn([program, "load"], stdin=read, stdout=said.fileno(), stderr=said.fileno())
        os.close(read)
        with contextlib.suppress(BrokenPipeError), open(write, "wb") as pipe:  # it ended early, and has said why
            archive.export(wanted, paths=paths, kind=kind, name=str(name), out=pipe, on_transfer=on_transfer)
        if loading.wait() != 0:
            raise CommandFailed(
                f"{engine} could not load the image", details=_end(said), remedy=f"{engine} info may tell why"
            )
    return _same(_inspected(program, engine, name), own, top, engine)


def _inspected(program: str, engine: str, name: Reference) -> dict[str, Any]:
    raw = _answer([program, "image", "inspect", str(name)], engine, f"does not have {name.familiar} after all")
    try:
        found: dict[str, Any] = jsontext.loads(raw)[0]
    except (ValueError, LookupError, TypeError):
        sentence = f"{engine} describes {name.familiar} in no way that devbox knows"
        raise HostError(sentence, remedy=f"see: {engine} info") from None
    return found


def _same(found: dict[str, Any], own: graph.Node, top: Descriptor, engine: str) -> str:
    """The image's id there: the digest of its config, or, in a store of containerd, of its manifest or index."""
    seen = f"sha256:{str(found['Id']).removeprefix('sha256:')}"
    if seen not in (own.blobs[0].digest, own.descriptor.digest, top.digest):
        raise EngineError(
            f"{engine} made another image of it: its id is {seen}, and the image's config is {own.blobs[0].digest}",
            remedy=f"push it to a registry and pull it with {engine} instead: devbox image push",
        )
    return seen


def _answer(argv: list[str], engine: str, otherwise: str) -> bytes:
    try:
        return process.run(argv, purpose=f"ask {engine}", timeout=_LOOK).stdout
    except CommandFailed as error:
        sentence = f"{engine} {otherwise}"
        raise HostError(sentence, details=error.details, remedy=f"see: {engine} info; {error.remedy}") from None


def _end(said: IO[bytes]) -> str:
    said.seek(max(0, said.seek(0, os.SEEK_END) - _TOLD))
    return said.read().decode(errors="replace")
