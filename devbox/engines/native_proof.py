"""What a running container really runs: the layers that its supervisor gave it, against those its digest stands for."""

from __future__ import annotations

import json
import os

from devbox.errors import CannotRun, EngineError, RegistryError
from devbox.host import files
from devbox.host.paths import Paths
from devbox.images import chain, documents, snapshots
from devbox.images.layout import Layout
from devbox.isolation import processes, spec
from devbox.isolation.inside.enter import read_entry


def digest(paths: Paths, instance: str, name: str) -> str:
    """See `Engine.proven`. What a container was launched with lies on tmpfs, in a directory that is devbox's alone."""
    text = files.read_text(paths.launch_file(instance, name))
    if text is None:
        return ""
    kept = json.loads(text)
    if not documents.is_digest(kept.get("digest") or ""):
        return ""
    try:
        entry = read_entry(paths.entry(instance, name), name)
        wanted = chain.layers(Layout(paths.oci, lock=paths.lock("oci-index")), str(kept["digest"]))
    except CannotRun:
        return ""
    except RegistryError as error:
        raise EngineError(f"what {name} runs can't be proven: {error.sentence}", remedy=error.remedy) from None
    given = tuple(kept["launch"]["lowers"])
    if given != snapshots.lowers(paths, wanted) or not _is_of(entry, kept["digest"]):
        return ""
    return str(kept["digest"])


def _is_of(entry: dict[str, str], wanted: str) -> bool:
    """Whether the OCI runtime says the same of the container; runc keeps no document that could be asked."""
    path = processes.saved_config(entry["oci_root"], entry["oci_id"])
    if not os.path.exists(path):
        return True
    with open(path, encoding="utf-8") as source:
        return bool(json.load(source).get("annotations", {}).get(spec.DIGEST) == wanted)
