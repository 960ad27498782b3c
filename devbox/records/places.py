"""To which project the releases of an instance belong: its root, its env file, and the identity of its directory.

The instance of a project is found by files below DEVBOX_HOME (`records/moves.py`). One of them could lead another
project, or another env file of the same one, to an instance whose stages have gates that this file lacks; or this one
away from its history, to an instance in which nothing was revoked. So what decides about releases is held against this
record, which lies in the configuration directory.
"""

from __future__ import annotations

import json
import os

from devbox.errors import HostError
from devbox.frozen import dataclass
from devbox.host import directory
from devbox.host.paths import Paths
from devbox.model import codec, ids, jsontext
from devbox.records.hostfiles import HostFiles

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Place:
    """A project's place. `directory`: see `host.directory`; "" if its file system records no times of creation."""

    root: str
    env_file: str
    directory: str = ""


class PlaceRecord:
    """The place of one instance."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._paths = paths
        self._instance = instance
        self._path = self._path_of(instance)
        self._files = HostFiles(paths)

    def check(self, root: str, env_file: str, *, begins: bool = False) -> None:
        """Raise HostError if the releases belong to another project, or the project has releases elsewhere.

        One that was moved keeps them.
        The first place that is seen is recorded. Before this host keeps anything about the home, only a command that
        `begins` to do so records it.
        """
        if not (begins or self._files.is_known):
            return
        now, known = Place(root=root, env_file=env_file, directory=directory.identity(root)), self._read(self._path)
        led = self._paths.moved(ids.instance_id(root, env_file))
        if known is None and (own := self._instance_of(now)):
            is_first = own == ids.instance_id(root, env_file)
            back = f"rm -f {led}" if is_first else f"mkdir -p {os.path.dirname(led)}; printf {own} > {led}"
            raise HostError(
                f"{self._paths.home} leads to the instance {self._instance}, and the releases of {root}/{env_file} "
                f"are those of {own}",
                remedy=f"{back}; to begin without their history: rm {self._path_of(own)}",
            )
        if known is not None and not _is_same(known, now):
            raise HostError(
                f"the releases that {root}/{env_file} is led to belong to the project {known.root}/{known.env_file}",
                remedy=f"if this is another project: rm -f {led}; if it is that one, moved: rm {self._path}",
            )
        if now != known:
            self._files.write(self._path, json.dumps({"format": FORMAT, "place": codec.dump(now)}))

    def is_there(self) -> bool:
        """True if the project whose releases these are has its env file where it was recorded."""
        known = self._read(self._path)
        return known is not None and os.path.lexists(f"{known.root}/{known.env_file}")

    def _instance_of(self, now: Place) -> str:
        """The instance for which this project is recorded; "" for none."""
        for name in self._files.names(f"{self._paths.host_files}/projects"):
            known = self._read(self._path_of(name))
            if known is not None and _has_become(known, now):
                return name
        return ""

    def _path_of(self, instance: str) -> str:
        return f"{self._paths.host_project(instance)}/release-place.json"

    def _read(self, path: str) -> Place | None:
        text = self._files.read(path)
        if text is None:
            return None
        try:
            plain = jsontext.loads(text)
            if plain["format"] == FORMAT:
                return codec.load(Place, plain["place"])
        except (ValueError, KeyError, TypeError):
            pass
        raise HostError(f"{path} is damaged, or of another devbox", remedy=f"remove it: rm {path}")


def _has_become(known: Place, now: Place) -> bool:
    """True if a project that was at one place is at this one; not another directory at its place, or a second path."""
    if known.env_file != now.env_file:
        return False
    if known.root == now.root:
        return known.directory == now.directory or "" in (known.directory, now.directory)
    return known.directory == now.directory != "" and directory.identity(known.root) != known.directory


def _is_same(known: Place, now: Place) -> bool:
    """True if it is the same place, or the same directory elsewhere."""
    return known.env_file == now.env_file and (known.root == now.root or known.directory == now.directory != "")
