"""Access to files of an unmounted image: lookup through its layers with overlayfs semantics."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from devbox.errors import CannotRun, EngineError, RegistryError
from devbox.host.paths import Paths

_MOST = 1 << 22  # characters read per file
_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


def find(lowers: tuple[str, ...], path: str) -> str | None:
    """Return the host path of the image's file or directory `path`; None if the image has none.

    `lowers` are its unpacked layers, topmost first. Symbolic links are not followed.
    """
    parts = [part for part in path.split("/") if part]
    for lower in lowers:
        end, hidden = _walk(lower, parts)
        if end is not None:
            return end
        if hidden:
            return None
    return None


def read(lowers: tuple[str, ...], path: str) -> str:
    """Return the text of a file of the image, at most 4 Mi characters; "" if missing."""
    found = find(lowers, path)
    if found is None or not os.path.isfile(found) or os.path.islink(found):
        return ""
    with open(found, encoding="utf-8", errors="replace") as source:
        return source.read(_MOST)


def _walk(lower: str, parts: list[str]) -> tuple[str | None, bool]:
    """Return the path in this layer, and whether this layer hides lower ones there."""
    hidden = False
    for depth, place in enumerate(_descend(lower, parts), start=1):
        try:
            facts = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            return None, hidden
        if stat.S_ISCHR(facts.st_mode) and facts.st_rdev == 0:
            return None, True
        if not stat.S_ISDIR(facts.st_mode):
            return (f"{lower}/{'/'.join(parts)}", True) if depth == len(parts) else (None, True)
        hidden = hidden or _is_opaque(place)
    return f"{lower}/{'/'.join(parts)}", hidden


def _descend(lower: str, parts: list[str]) -> Iterator[str]:
    for depth in range(1, len(parts) + 1):
        yield f"{lower}/{'/'.join(parts[:depth])}"


def _is_opaque(directory: str) -> bool:
    for name in _OPAQUE:
        with contextlib.suppress(OSError):
            if os.getxattr(directory, name, follow_symlinks=False) == b"y":
                return True
    return False


def verify_image(paths: Paths, instance: str, name: str) -> str:
    """See `ImageVerifier`. The launch file is on tmpfs, in a directory accessible only to devbox."""
    from devbox.images import reachable
    from devbox.images.store import documents, snapshots
    from devbox.images.store.layout import Layout
    from devbox.isolation import state
    from devbox.isolation.exec import read_entry

    kept = state.read_launch_file(paths, instance, name)
    if kept is None:
        return ""
    digest = str(kept.get("digest") or "")
    if not documents.is_digest(digest):
        return ""
    try:
        entry = read_entry(paths.entry_file(instance, name), name)
        layers = reachable.read_layers(Layout(paths.oci, lock=paths.lock("oci-index")), digest)
    except CannotRun:
        return ""
    except RegistryError as error:
        raise EngineError(f"cannot verify the image of {name}: {error.sentence}", remedy=error.remedy) from None
    given = tuple(kept["launch"].get("lowers") or ())
    return digest if given == snapshots.list_lowers(paths, layers) and _matches_runtime(entry, digest) else ""


def _matches_runtime(entry: dict[str, str], digest: str) -> bool:
    """Return whether the OCI runtime reports the same digest; True for runc, which keeps no document."""
    from devbox.host import files
    from devbox.isolation import processes, runtime_spec
    from devbox.model import jsontext

    path = processes.get_config_path(entry["oci_root"], entry["oci_id"])
    if not os.path.exists(path):
        return True
    try:
        annotations = jsontext.loads(files.read_text(path) or "{}")["annotations"]
        return bool(annotations.get(runtime_spec.DIGEST_ANNOTATION) == digest)
    except (ValueError, TypeError, LookupError, AttributeError):
        return False
