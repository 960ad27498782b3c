"""What a running container really runs: the layers that its supervisor gave it, against those its digest stands for."""

from __future__ import annotations

import os

from devbox.errors import CannotRun, EngineError, RegistryError
from devbox.host import files
from devbox.host.paths import Paths
from devbox.images import chain, documents, snapshots
from devbox.images.layout import Layout
from devbox.isolation import launchfile, processes, spec
from devbox.isolation.inside.enter import read_entry
from devbox.model import jsontext


def digest(paths: Paths, instance: str, name: str) -> str:
    """See `Engine.proven`. What a container was launched with lies on tmpfs, in a directory that is devbox's alone."""
    kept = launchfile.read(paths, instance, name)
    if kept is None:
        return ""
    digest = str(kept.get("digest") or "")
    if not documents.is_digest(digest):
        return ""
    try:
        entry = read_entry(paths.entry(instance, name), name)
        wanted = chain.layers(Layout(paths.oci, lock=paths.lock("oci-index")), digest)
    except CannotRun:
        return ""
    except RegistryError as error:
        raise EngineError(f"what {name} runs can't be proven: {error.sentence}", remedy=error.remedy) from None
    given = tuple(kept["launch"].get("lowers") or ())
    return digest if given == snapshots.lowers(paths, wanted) and _is_of(entry, digest) else ""


def _is_of(entry: dict[str, str], wanted: str) -> bool:
    """Whether the OCI runtime says the same of the container; runc keeps no document that could be asked."""
    path = processes.saved_config(entry["oci_root"], entry["oci_id"])
    if not os.path.exists(path):
        return True
    try:
        annotations = jsontext.loads(files.read_text(path) or "{}")["annotations"]
        return bool(annotations.get(spec.DIGEST) == wanted)
    except (ValueError, TypeError, LookupError, AttributeError):
        return False
