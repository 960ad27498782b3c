"""Concurrent creation of a volume gives one directory."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from devbox.engines.native import data_dirs
from devbox.host.paths import Paths
from devbox.isolation.types import IdMap, Range


def test_concurrent_threads_get_the_same_volume(tmp_path: Path) -> None:
    paths = Paths(str(tmp_path / "home"), str(tmp_path / "run"))
    own = IdMap(rootless=False, uids=(Range(0, os.geteuid(), 1),), gids=(Range(0, os.getegid(), 1),))

    def ensure(number: int) -> str:
        return data_dirs.ensure_volume(paths, "i", f"data{number % 2}", target="/data", lowers=(), idmap=own)

    with ThreadPoolExecutor(16) as pool:
        made = set(pool.map(ensure, range(64)))
    assert made == {paths.volume("i", "data0"), paths.volume("i", "data1")}
    assert data_dirs.list_volumes(paths, "i") == ("data0", "data1")
