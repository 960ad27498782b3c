"""Workspace, volumes, layers: ownership, and which writes reach the disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from support.place import Place

from devbox.errors import EngineError
from devbox.isolation import idmap
from devbox.isolation.types import Bind, IdMap


@pytest.fixture
def directory(base: Path) -> Path:
    made = Path(tempfile.mkdtemp(dir=base))
    made.chmod(0o755)
    return made


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to another user")
@pytest.mark.parametrize("owner", [0, 1000, 70000])
def test_the_workspace_belongs_to_its_owner_on_both_sides(clear: Place, directory: Path, owner: int):
    (directory / "there").write_text("old\n")
    (directory / "foreign").write_text("")
    os.chown(directory, owner, owner)
    os.chown(directory / "there", owner, owner)
    os.chown(directory / "foreign", 33, 33)
    clear.run(clear.container("dev", binds=(Bind(str(directory), "/workspace", owner=owner, group=owner),)))

    script = "cd /workspace && echo more >> there && echo new > made && mkdir d && stat -c %u . there foreign"
    output = clear.sh("dev", script)

    assert output.split()[:2] == ["0", "0"]
    assert output.split()[2] != "0"
    for name in ("there", "made", "d"):
        facts = (directory / name).stat()
        assert (facts.st_uid, facts.st_gid) == (owner, owner)
    assert (directory / "there").read_text() == "old\nmore\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="what an ordinary user sees")
def test_the_workspace_is_the_callers(clear: Place, directory: Path):
    clear.run(clear.container("dev", binds=(Bind(str(directory), "/workspace", owner=os.getuid(), group=os.getgid()),)))

    clear.sh("dev", "echo new > /workspace/made")

    assert (directory / "made").stat().st_uid == os.getuid()


def test_a_volume_keeps_container_ids(clear: Place, ids: IdMap, directory: Path):
    if not ids.rootless:
        os.chown(directory, ids.uids[0].outside, ids.gids[0].outside)
    clear.run(clear.container("db", binds=(Bind(str(directory), "/data"),)))

    clear.sh("db", "echo x > /data/root; echo y > /data/other; chown 101:102 /data/other")

    assert (directory / "root").stat().st_uid == idmap.map_to_host(ids.uids, 0)
    assert (directory / "other").stat().st_uid == idmap.map_to_host(ids.uids, 101)
    assert (directory / "other").stat().st_gid == idmap.map_to_host(ids.gids, 102)


def test_a_read_only_bind_is_read_only(clear: Place, directory: Path):
    (directory / "file").write_text("text")
    clear.run(clear.container("reader", binds=(Bind(str(directory / "file"), "/etc/given", read_only=True),)))

    assert clear.sh("reader", "cat /etc/given") == "text"
    assert clear.attempt("reader", "echo x > /etc/given")[1] != 0


def test_a_bind_can_lie_in_another(clear: Place, directory: Path):
    (directory / "inner").mkdir()
    (directory / "outer").mkdir()
    (directory / "inner" / "x").write_text("deep")
    outer = Bind(str(directory / "outer"), "/w", owner=os.getuid(), group=os.getgid())
    binds = (Bind(str(directory / "inner"), "/w/a/b"), outer)
    clear.run(clear.container("nested", binds=binds))

    assert clear.sh("nested", "cat /w/a/b/x") == "deep"


def test_changes_are_written_to_the_writable_layer_only(clear: Place, lower: Path):
    container = clear.container("writer")
    clear.run(container)

    clear.sh("writer", "echo x > /etc/made; rm /etc/issue")

    assert (Path(container.top) / "upper/etc/made").read_text() == "x\n"
    assert not (lower / "etc/made").exists()
    assert (lower / "etc/issue").exists()


def test_a_kept_writable_layer_is_found_again(clear: Place):
    container = clear.container("kept")
    clear.run(container)
    clear.sh("kept", "echo x > /root/made")
    clear.stop("kept")

    clear.run(container)

    assert clear.sh("kept", "cat /root/made") == "x\n"


def test_many_layers_fit(clear: Place, directory: Path):
    layers = []
    for number in range(100):
        layer = directory / f"a-rather-long-name-of-a-layer-directory-{number:03}"
        layer.mkdir(parents=True)
        (layer / f"file{number}").write_text("")
        layers.append(str(layer))
    container = clear.container("deep")
    clear.run(container._replace(lowers=(*layers, *container.lowers)))

    assert clear.sh("deep", "ls -d /file* | wc -l").strip() == "100"


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's workspace is a plain bind")
def test_a_file_system_without_id_maps_is_named(clear: Place):
    with pytest.raises(EngineError, match=r"/proc/fs: .* does not support id-mapped mounts"):
        clear.run(clear.container("dev", binds=(Bind("/proc/fs", "/workspace", owner=1000, group=1000),)))


def test_a_mount_that_has_become_a_link_out_of_the_project_is_refused(clear: Place, directory: Path):
    (directory / "in").mkdir()
    (directory / "in" / "file").write_text("mine")
    (directory / "link").symlink_to("in")
    (directory / "swapped").symlink_to("/etc")
    (directory / "climbs").symlink_to("../..")
    bind = Bind(str(directory / "link"), "/given", within=str(directory))
    clear.run(clear.container("within", binds=(bind,)))
    assert clear.sh("within", "cat /given/file") == "mine"

    for name in ("swapped", "climbs"):
        with pytest.raises(EngineError, match="link out of the project"):
            clear.run(clear.container(name, binds=(bind._replace(source=str(directory / name)),)))
