"""Snapshots of volumes: full copies by cp, with shared blocks if the file system supports reflinks.

`DEVBOX_HOME/saved/INSTANCE/NAME/` has a directory per volume and `snapshot.json`, created under a temporary name and
renamed. A restore copies next to the volumes, then swaps; `.restoring` marks an unfinished restore.
"""

from __future__ import annotations

import json
import os
import shlex
import time
import urllib.parse
from typing import Any

from devbox.engines.native import data_dirs
from devbox.errors import EngineError
from devbox.host import files, process
from devbox.host.disk import measure_tree
from devbox.host.paths import Paths
from devbox.isolation import logs, trees
from devbox.isolation.idmap import load_store_map
from devbox.model import codec, jsontext
from devbox.model.observed import Snapshot

_FORMAT = 1
_ABOUT = "snapshot.json"
_FRESH, _GOING = ".new-", ".old-"


class NativeSnapshots:
    """The snapshots of one instance."""

    def __init__(self, paths: Paths, instance: str, *, kept_by: str = "") -> None:
        self._paths = paths
        self._instance = instance
        self._home = paths.volume_snapshots(kept_by or instance)

    def list_all(self) -> tuple[Snapshot, ...]:
        """See `VolumeSnapshots`."""
        try:
            entries = os.listdir(self._home)
        except FileNotFoundError:
            return ()
        found = [self._read(entry) for entry in entries if not entry.startswith(".")]
        return tuple(sorted(found, key=lambda each: each.created_at))

    def save(self, name: str, volumes: tuple[str, ...]) -> Snapshot:
        """See `VolumeSnapshots`."""
        files.ensure_closed_dir(os.path.dirname(self._home))
        files.ensure_private_dir(self._home)
        place = self._get_path(name)
        entry = os.path.basename(place)
        fresh, old = f"{self._home}/{_FRESH}{entry}", f"{self._home}/{_GOING}{entry}"
        self._remove(fresh, old)
        os.mkdir(fresh, 0o711)
        for volume in volumes:
            self._copy(self._paths.volume(self._instance, volume), f"{fresh}/{volume}")
        about = {
            "format": _FORMAT,
            "name": name,
            "created_at": logs.format_timestamp(time.time()),
            "volumes": volumes,
            "size": sum(measure_tree(f"{fresh}/{volume}") for volume in volumes),
        }
        files.write_atomic(f"{fresh}/{_ABOUT}", json.dumps(about))
        if os.path.isdir(place):
            os.rename(place, old)
        os.rename(fresh, place)
        self._remove(old)
        return self._read(entry)

    def restore(self, name: str) -> Snapshot:
        """See `VolumeSnapshots`."""
        found = self._read(os.path.basename(self._get_path(name)))
        home = files.ensure_private_dir(self._paths.volumes(self._instance))
        for volume in found.volumes:
            self._remove(f"{home}/{_FRESH}{volume}", f"{home}/{_GOING}{volume}")
            self._copy(f"{self._get_path(name)}/{volume}", f"{home}/{_FRESH}{volume}")
        data_dirs.mark_restoring(self._paths, self._instance, name)
        for volume in found.volumes:
            if os.path.lexists(f"{home}/{volume}"):
                os.rename(f"{home}/{volume}", f"{home}/{_GOING}{volume}")
            os.rename(f"{home}/{_FRESH}{volume}", f"{home}/{volume}")
        data_dirs.mark_restored(self._paths, self._instance)
        self._remove(*(f"{home}/{_GOING}{volume}" for volume in found.volumes))
        return found

    def measure_volumes(self) -> dict[str, int]:
        """See `VolumeSnapshots`."""
        names = data_dirs.list_volumes(self._paths, self._instance)
        return {name: measure_tree(self._paths.volume(self._instance, name)) for name in names}

    def copy_volume(self, volume: str, name: str) -> int:
        """See `VolumeSnapshots`."""
        home = files.ensure_private_dir(self._paths.volumes(self._instance))
        fresh = f"{home}/{_FRESH}{name}"
        self._remove(fresh)
        self._copy(self._paths.volume(self._instance, volume), fresh)
        os.rename(fresh, f"{home}/{name}")
        return measure_tree(f"{home}/{name}")

    def remove_volume(self, volume: str) -> None:
        """See `VolumeSnapshots`."""
        home = self._paths.volumes(self._instance)
        gone = f"{home}/{_GOING}{volume}"
        self._remove(gone)
        os.rename(f"{home}/{volume}", gone)
        self._remove(gone)

    def delete(self, name: str) -> None:
        """See `VolumeSnapshots`."""
        place = self._get_path(name)
        self._read(os.path.basename(place))
        gone = f"{self._home}/{_GOING}{os.path.basename(place)}"
        self._remove(gone)
        os.rename(place, gone)
        self._remove(gone)

    def _get_path(self, name: str) -> str:
        return f"{self._home}/{urllib.parse.quote(name, safe='')}"

    def _read(self, entry: str) -> Snapshot:
        text = files.read_text(f"{self._home}/{entry}/{_ABOUT}")
        if text is None:
            known = ", ".join(each.name for each in self.list_all()) or "none"
            raise EngineError(f"snapshot not found: {urllib.parse.unquote(entry)}", remedy=f"known: {known}")
        try:
            about = jsontext.loads(text)
            if about["format"] == _FORMAT:
                return _load_snapshot(about)
        except (ValueError, TypeError, LookupError):
            place = f"{self._home}/{entry}"
            raise EngineError(
                f"{place}/{_ABOUT} is damaged; the volumes are next to it",
                remedy=f"copy the data you need, then: rm -r {shlex.quote(place)}",
            ) from None
        raise EngineError(
            f"the snapshot {about['name']} was saved by another version of devbox (format {about['format']})",
            remedy="upgrade devbox: pip install -U devbox-pipeline",
        )

    def _copy(self, source: str, target: str) -> None:
        """Copy a directory with all files, owners, times, attributes and holes."""
        argv = ["cp", "-a", "--reflink=auto", "--sparse=auto", "--no-target-directory", "--", source, target]
        trees.run_as_root(load_store_map(self._paths), lambda: _run_copy(argv))

    def _remove(self, *trees_: str) -> None:
        idmap = load_store_map(self._paths)
        for tree in trees_:
            trees.remove(idmap, tree)


def _load_snapshot(about: dict[str, Any]) -> Snapshot:
    """Load a snapshot's metadata; raise ValueError or KeyError if it is invalid or names an invalid volume."""
    found = codec.load(Snapshot, {name: about[name] for name in ("name", "created_at", "volumes", "size")})
    if any("/" in volume or volume.startswith(".") for volume in found.volumes):
        raise ValueError("invalid volume")
    return found


def _run_copy(argv: list[str]) -> None:
    process.run(argv, purpose="copy a volume")
