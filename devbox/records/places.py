"""To which project the releases of an instance belong: its root, its env file, and the identity of its directory.

The instance of a project is found by files below DEVBOX_HOME (`records/moves.py`). One of them could lead another
project, or another env file of the same one, to an instance whose stages have gates that this file lacks. So what
decides about releases is held against this record, which lies in the configuration directory.
"""

from __future__ import annotations

import json

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
        self._path = f"{paths.host_project(instance)}/release-place.json"
        self._files = HostFiles(paths)

    def check(self, root: str, env_file: str, *, begins: bool = False) -> None:
        """Raise HostError if the releases belong to another project. One that was moved keeps them.

        The first place that is seen is recorded. Before this host keeps anything about the home, only a command that
        `begins` to do so records it.
        """
        if not (begins or self._files.is_known):
            return
        now, known = Place(root=root, env_file=env_file, directory=directory.identity(root)), self._read()
        if known is not None and not _is_same(known, now):
            led = self._paths.moved(ids.instance_id(root, env_file))
            raise HostError(
                f"the releases that {root}/{env_file} is led to belong to the project {known.root}/{known.env_file}",
                remedy=f"if this is another project: rm -f {led}; if it is that one, moved: rm {self._path}",
            )
        if now != known:
            self._files.write(self._path, json.dumps({"format": FORMAT, "place": codec.dump(now)}))

    def _read(self) -> Place | None:
        text = self._files.read(self._path)
        if text is None:
            return None
        try:
            plain = jsontext.loads(text)
            if plain["format"] == FORMAT:
                return codec.load(Place, plain["place"])
        except (ValueError, KeyError, TypeError):
            pass
        raise HostError(f"{self._path} is damaged, or of another devbox", remedy=f"remove it: rm {self._path}")


def _is_same(known: Place, now: Place) -> bool:
    """True if it is the same place, or the same directory elsewhere."""
    return known.env_file == now.env_file and (known.root == now.root or known.directory == now.directory != "")
