"""Data of containers: volumes, which are plain directories in the store's id range, and writable layers.

A volume is initialized from the image's directory on first use. Some writable layers are kept, with image and setup.
"""

from __future__ import annotations

import json
import os
import shlex
import stat
from typing import Any

from devbox.engines.engine import KeptWritableLayer
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


def ensure_volume(paths: Paths, instance: str, name: str, *, target: str, lowers: tuple[str, ...], idmap: IdMap) -> str:
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


class WritableLayers:
    """The writable layers of one instance."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._paths = paths
        self._instance = instance

    def list_kept(self) -> dict[str, KeptWritableLayer]:
        """Return the kept writable layers by container."""
        found = {name: self._read(name) for name in self._list_names()}
        return {name: top for name, top in found.items() if top is not None}

    def prepare(self, name: str, *, image_key: str, keep: bool, idmap: IdMap) -> str:
        """Return the layer directory for a container start: a kept layer of the same image as is, else a new one."""
        path = self._paths.writable_layer(self._instance, name)
        top = self._read(name)
        if not (keep and top is not None and top.image_key == image_key):
            trees.remove(idmap, path)
            top = KeptWritableLayer(image_key=image_key)
        files.ensure_private_dir(path)
        if keep:
            self._write(name, top)
        return path

    def record_setup(self, name: str, setup_key: str) -> None:
        """Record a setup once its changes are on disk; overlayfs (volatile) does not sync on its own."""
        from devbox.isolation import syscalls

        top = self._read(name)
        if top is not None:
            syscalls.sync_filesystem(self._paths.writable_layer(self._instance, name))
            self._write(name, KeptWritableLayer(image_key=top.image_key, setup_key=setup_key))

    def relabel(self, name: str, image_key: str) -> None:
        """Record another key of the same image for a kept layer."""
        if (top := self._read(name)) is not None:
            self._write(name, KeptWritableLayer(image_key=image_key, setup_key=top.setup_key))

    def remove(self, name: str, *, idmap: IdMap) -> None:
        """Remove a writable layer."""
        trees.remove(idmap, self._paths.writable_layer(self._instance, name))

    def remove_all(self, *, kept: bool, idmap: IdMap) -> None:
        """Remove the layers that are not kept; with `kept` all."""
        for name in self._list_names():
            if kept or self._read(name) is None:
                self.remove(name, idmap=idmap)

    def _list_names(self) -> list[str]:
        directory = os.path.dirname(self._paths.writable_layer(self._instance, "any"))
        try:
            return os.listdir(directory)
        except FileNotFoundError:
            return []

    def _get_facts_path(self, name: str) -> str:
        return f"{self._paths.writable_layer(self._instance, name)}/kept"

    def _read(self, name: str) -> KeptWritableLayer | None:
        text = files.read_text(self._get_facts_path(name))
        if not text:
            return None
        facts = {name: value for name, _, value in (line.partition("=") for line in text.splitlines())}
        if "image_key" not in facts:  # damaged
            return None
        return KeptWritableLayer(image_key=facts["image_key"], setup_key=facts.get("setup_key"))

    def _write(self, name: str, top: KeptWritableLayer) -> None:
        lines = [f"image_key={top.image_key}"]
        if top.setup_key is not None:
            lines.append(f"setup_key={top.setup_key}")
        files.write_atomic(self._get_facts_path(name), "\n".join(lines) + "\n")
