"""Volumes: plain directories in the store's id range, initialized from the image's directory on first use."""

from __future__ import annotations

import json
import os
import shlex
import stat
from typing import Any

from devbox.engines.native import image_files
from devbox.errors import EngineError
from devbox.host import files
from devbox.host.paths import Paths
from devbox.isolation import trees
from devbox.isolation.types import IdMap, Range, pack, unpack
from devbox.model import jsontext

_MAP = ".idmap"  # next to the volumes: the id map of their files
_FRESH = ".new-"
_RESTORING = ".restoring"  # contains the name of a partially restored snapshot
_FORMAT = 1


def ensure_volume(
    paths: Paths,
    instance: str,
    name: str,
    *,
    target: str,
    lowers: tuple[str, ...],
    idmap: IdMap,
) -> str:
    """Return the directory of a volume. A new one gets owner and mode of the image's `target`, else root's.

    Raises EngineError if the instance's volumes use another id range than the store.
    """
    home = files.ensure_private_dir(paths.volumes(instance))
    path = paths.volume(instance, name)
    with files.lock_file(paths.lock(f"volumes-{instance}")):
        _check_map(home, idmap)
        _check_restored(home)
        if not os.path.isdir(path):
            trees.run_as_root(idmap, lambda: _make(home, name, target, lowers, idmap))
    return path


def list_volumes(paths: Paths, instance: str) -> tuple[str, ...]:
    """Return the volumes of an instance."""
    try:
        entries = os.listdir(paths.volumes(instance))
    except FileNotFoundError:
        return ()
    return tuple(sorted(entry for entry in entries if not entry.startswith(".")))


def mark_restoring(paths: Paths, instance: str, snapshot: str) -> None:
    """Mark the start of a restore: volumes may be partially restored."""
    files.write_atomic(f"{paths.volumes(instance)}/{_RESTORING}", snapshot)


def mark_restored(paths: Paths, instance: str) -> None:
    """Mark the end of a restore."""
    os.unlink(f"{paths.volumes(instance)}/{_RESTORING}")


def _check_restored(home: str) -> None:
    if snapshot := files.read_text(f"{home}/{_RESTORING}"):
        raise EngineError(
            f"restoring the snapshot {snapshot} was interrupted: only some volumes are restored",
            remedy=f"devbox snapshot restore {snapshot}",
        )


def _make(home: str, name: str, target: str, lowers: tuple[str, ...], idmap: IdMap) -> None:
    """Create a volume under a temporary name and rename it: an existing volume is complete."""
    from devbox.isolation.idmap import map_to_host

    uid, gid, mode = _find_owner_and_mode(lowers, target)
    if not idmap.rootless:  # an ordinary user's layers and this process already share one map
        uid, gid = map_to_host(idmap.uids, uid), map_to_host(idmap.gids, gid)
    fresh = f"{home}/{_FRESH}{name}"
    if os.path.isdir(fresh):
        os.rmdir(fresh)
    os.mkdir(fresh)
    os.chown(fresh, uid, gid)
    os.chmod(fresh, mode)
    os.rename(fresh, f"{home}/{name}")


def _find_owner_and_mode(lowers: tuple[str, ...], target: str) -> tuple[int, int, int]:
    found = image_files.find(lowers, target)
    if found is None or not os.path.isdir(found) or os.path.islink(found):
        return 0, 0, 0o755
    facts = os.stat(found)
    return facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)


def _check_map(home: str, idmap: IdMap) -> None:
    path = f"{home}/{_MAP}"
    own = {"format": _FORMAT, "uids": pack(idmap.uids), "gids": pack(idmap.gids)}
    text = files.read_text(path)
    try:
        before = jsontext.loads(text) if text else {"uids": [], "gids": []}
        extended = before == own or _extends(idmap, before)
    except (ValueError, TypeError, LookupError, AttributeError):
        whole = f"restore its most likely content: echo {shlex.quote(json.dumps(own))} > {shlex.quote(path)}"
        raise EngineError(f"{path} is damaged", remedy=whole) from None
    if before == own:
        return
    if not extended:
        raise EngineError(
            f"the volumes in {home} belong to other user ids than those of this store",
            remedy="remove them with devbox down -v, or use the DEVBOX_HOME and user that created them",
        )
    files.write_atomic(path, json.dumps(own))


def _extends(idmap: IdMap, before: dict[str, Any]) -> bool:
    """True if all earlier ids keep their host ids."""
    from devbox.isolation.idmap import extends

    uids, gids = ([unpack(Range, each) for each in before[kind]] for kind in ("uids", "gids"))
    return extends(idmap.uids, uids) and extends(idmap.gids, gids)
