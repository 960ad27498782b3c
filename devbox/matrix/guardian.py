"""A process that takes cells down when devbox can't: `python -m devbox.matrix.guardian HOME RUNTIME`, killed or not.

It is told which cells stand (`+ID`; `=ID` of one whose data stay) and which no longer do (`-ID`). When nobody tells it
any more, what stands is taken down.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from devbox.engines.select import select
from devbox.host import environ, process, removal
from devbox.host.paths import Paths
from devbox.model.resolved import Instance

_INHERITED = ("PATH", "DEVBOX_RUNTIME")


class Guardian:
    """The guardian of one run. Methods may be called from several threads."""

    def __init__(self, paths: Paths) -> None:
        read_end, self._tell = os.pipe()
        module = ["-E", "-s", "-P", "-m", "devbox.matrix.guardian"]  # -P: never from the project's directory
        env = {key: environ.get(key) for key in _INHERITED if environ.get(key)} | {"LANG": "C.UTF-8"}
        argv = [sys.executable, *module, paths.home, paths.runtime]
        try:
            self._process = process.spawn(argv, stdin=read_end, env=env, new_session=True)
        finally:
            os.close(read_end)
        self._lock = threading.Lock()

    def watch(self, instance: str, *, data: bool = False) -> None:
        """Something of this instance is about to stand; its `data` stay when it goes."""
        self._say(f"{'=' if data else '+'}{instance}\n")

    def release(self, instance: str) -> None:
        """Nothing of it stands any more, or it is to stay."""
        self._say(f"-{instance}\n")

    def end(self) -> None:
        """There is nothing to watch over any more; what was not released is taken down."""
        os.close(self._tell)
        self._process.wait()

    def _say(self, line: str) -> None:
        with self._lock:
            os.write(self._tell, line.encode())


def take_down(paths: Paths, instance: str, *, data: bool = False) -> None:
    """Leave nothing of a cell: containers, data, records; or nothing but its `data`."""
    if not any(map(os.path.isdir, (paths.project(instance), paths.run(instance), paths.volumes(instance)))):
        return
    shell = Instance(id=instance, name=instance, root="", env_file="", owner=0, group=0)
    select(paths).teardown(shell, volumes=not data)
    if not data and os.path.isdir(paths.project(instance)):
        removal.remove(paths.project(instance))


def main() -> None:
    """Listen to the end, then do what is left to do."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    paths, standing = Paths(sys.argv[1], sys.argv[2]), dict[str, str]()
    for line in sys.stdin:
        standing[line[1:].strip()] = line[0]
    for instance, what in standing.items():
        if what != "-":
            take_down(paths, instance, data=what == "=")


if __name__ == "__main__":
    main()
