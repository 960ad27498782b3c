"""The build of a base layer: mounts that mmdebstrap left are detached."""

from __future__ import annotations

import os
from pathlib import Path

from devbox.host import mounts
from devbox.images.bake import bootstrap
from devbox.isolation import forks, syscalls


def test_mounts_below_the_tree_are_detached_and_no_others(tmp_path: Path):
    top = tmp_path / "with a space"
    places = (top / "tree/dev", top / "tree-other")

    for place in places:
        place.mkdir(parents=True)
        (place / "full").touch()

    def check_inside() -> None:
        syscalls.unshare(syscalls.CLONE_NEWNS | (syscalls.CLONE_NEWUSER if os.geteuid() else 0))
        syscalls.mount(None, "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
        for place in places:
            syscalls.mount("/dev/full", str(place / "full"), flags=syscalls.MS_BIND)
        bootstrap.detach_mounts(str(top / "tree"))
        left = [mount.point for mount in mounts.list_mounts() if mount.point.startswith(str(top))]
        assert left == [str(places[1] / "full")]
        (places[0] / "full").unlink()

    forks.run_in_child(check_inside)
