"""Damaged or hostile files in a home, a cache or a runtime directory: one error that names the file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from devbox.engines.native import data_dirs
from devbox.engines.native.snapshots import NativeSnapshots
from devbox.errors import BakeFailed, DevboxError, EngineError
from devbox.host.paths import Paths
from devbox.images.dockerfile import cache
from devbox.isolation import idmap, oci, state
from devbox.isolation.types import IdMap, Range

DAMAGED = ("[" * 200_000 + "]" * 200_000, "{", "[]", "17", "\x00", '{"format": 1}')


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "home"), str(tmp_path / "run"))


def put(path: str, text: str) -> str:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_text(text)
    return path


@pytest.mark.parametrize("text", DAMAGED)
def test_issue10_json_that_is_damaged_is_named_with_what_to_do(paths: Paths, text: str):
    def check(path: str, read, kind: type[DevboxError] = EngineError) -> None:
        put(path, text)
        with pytest.raises(kind) as error:
            read()
        assert path in error.value.sentence
        assert "damaged" in error.value.sentence
        assert error.value.remedy

    own = IdMap(rootless=False, uids=(Range(0, os.geteuid(), 1),), gids=(Range(0, os.getegid(), 1),))
    home = paths.volumes("i")
    check(f"{home}/{data_dirs._MAP}", lambda: data_dirs._check_map(home, own))
    check(f"{paths.volume_snapshots('i')}/a/snapshot.json", lambda: NativeSnapshots(paths, "i").list_all())
    check(paths.launch_file("i", "web"), lambda: state.read_launch_file(paths, "i", "web"))
    check(paths.state("i"), lambda: state.read_state_file(paths, "i"))
    if os.geteuid() == 0:
        check(paths.idmap, lambda: idmap.load_store_map(paths))


def test_issue10_json_of_a_snapshot_names_no_place_outside(paths: Paths):
    about = {"format": 1, "name": "a", "created_at": "", "volumes": ["data"], "size": 1}
    place = f"{paths.volume_snapshots('i')}/a/snapshot.json"
    put(place, json.dumps(about))
    assert NativeSnapshots(paths, "i").list_all()[0].volumes == ("data",)
    for volume in ("../../../../etc", "..", ".old-x", "a/b"):
        put(place, json.dumps({**about, "volumes": [volume]}))
        with pytest.raises(EngineError, match="damaged"):
            NativeSnapshots(paths, "i").restore("a")


@pytest.mark.parametrize("text", DAMAGED[:3])
def test_issue10_json_of_what_a_container_was_started_with_is_checked(paths: Paths, text: str):
    put(paths.launch_file("i", "web"), f'{{"launch": {{}}, "hidden": {text}}}')
    with pytest.raises(EngineError, match="damaged"):
        state.load_launch_file(paths, "i", "web")
    assert state.load_launch_file(paths, "i", "other") is None


def test_issue10_json_of_buildah_s_storage_is_checked(tmp_path: Path):
    path = put(f"{tmp_path}/root/overlay-images/images.json", DAMAGED[0])
    with pytest.raises(BakeFailed, match=r"images\.json is damaged") as error:
        cache.list_images(str(tmp_path))
    assert error.value.remedy == f"remove the Dockerfile cache: rm -r {tmp_path}"
    put(path, '[{"id": "aa"}]')
    for text in DAMAGED:
        put(f"{tmp_path}/uses/x.json", text)
        assert cache._read_uses(str(tmp_path), "x") == set(), "the next build writes it down again"


def test_issue10_json_of_a_runtime_s_log_that_was_cut_off_is_passed_over(tmp_path: Path):
    lines = ('{"level": "error", "msg": "first"}', "[]", DAMAGED[0], '{"level": "info"}', '{"level": "err')
    log = put(f"{tmp_path}/log", "\n".join(lines))
    assert oci.read_last_error(log) == "first"
