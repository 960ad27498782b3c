"""Host id ranges of a store's containers."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devbox.errors import EngineError, HostError
from devbox.host.paths import Paths
from devbox.isolation import idmap
from devbox.isolation.types import IdMap, Range

BASE = 1 << 30
IDS = IdMap(rootless=False, uids=(Range(0, BASE, 65536),), gids=(Range(0, BASE, 65536),))


@given(owner=st.integers(0, 200_000))
def test_an_owner_map_pairs_the_owner_with_root_and_keeps_all_ids_apart(owner: int):
    """Checked for every id: nothing overlaps on either side, nothing leaves the store's range."""
    ranges = idmap.build_owner_map(IDS, owner=owner, group=owner).uids
    inside = sorted((span.inside, span.inside + span.count) for span in ranges)
    outside = sorted((span.outside, span.outside + span.count) for span in ranges)

    assert idmap.map_to_host(ranges, owner) == BASE
    assert all(left[1] <= right[0] for spans in (inside, outside) for left, right in itertools.pairwise(spans))
    assert outside[0][0] >= BASE
    assert outside[-1][1] <= BASE + 65536


def test_an_id_outside_every_range_is_an_error():
    with pytest.raises(ValueError, match="65536"):
        idmap.map_to_host(IDS.uids, 65536)


def test_roots_range_is_recorded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    paths = Paths(str(tmp_path), str(tmp_path / "run"))

    first = idmap.load_store_map(paths)
    recorded = json.loads((tmp_path / "idmap.json").read_text())

    assert first.uids[0] == Range(0, recorded["base"], 65536)
    assert idmap.load_store_map(paths) == first
    assert recorded["base"] >= BASE
    assert recorded["base"] % 65536 == 0


def test_a_recorded_range_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (tmp_path / "idmap.json").write_text('{"format": 1, "base": 2000000000, "count": 65536}')

    assert idmap.load_store_map(Paths(str(tmp_path), "/run")).gids[0] == Range(0, 2_000_000_000, 65536)


@pytest.mark.parametrize("base", [0, 1000, BASE - 65536, (1 << 31) - 65535, -1])
def test_issue10_2_a_recorded_range_makes_no_user_of_the_host_root_of_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: int
):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (tmp_path / "idmap.json").write_text(json.dumps({"format": 1, "base": base, "count": 65536}))

    with pytest.raises(EngineError, match="is damaged") as error:
        idmap.load_store_map(Paths(str(tmp_path), "/run"))
    assert "restore its most likely content" in error.value.remedy


def test_issue9_a6_a_user_without_subordinate_ids_gets_a_command_with_a_free_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("os.geteuid", lambda: 54321)

    with pytest.raises(HostError) as error:
        idmap.load_store_map(Paths(str(tmp_path), "/run"))

    words = error.value.remedy.split()
    assert words[:3] == ["sudo", "usermod", "--add-subuids"]
    assert words[4:6] == ["--add-subgids", words[3]], "one command gives both"
    first, _, last = words[3].partition("-")
    given = (
        line.split(":")[1:]
        for path in map(Path, ("/etc/subuid", "/etc/subgid"))
        if path.exists()
        for line in path.read_text().splitlines()
    )
    assert int(last) - int(first) + 1 == idmap.SIZE
    assert all(int(last) < int(start) or int(first) >= int(start) + int(count) for start, count in given)


@pytest.mark.parametrize(
    ("taken", "first"),
    [
        ([], 100_000),
        ([(100_000, 65536)], 165_536),
        ([(165_536, 65536), (100_000, 65536)], 231_072),
        ([(100_000, 10), (160_000, 5)], 160_005),
        ([(0, 1), (1000, 1), (300_000, 65536)], 100_000),
        ([(100_000, 400_000), (200_000, 10)], 500_000),
        ([(165_000, 1)], 165_001),
    ],
)
def test_issue9_a6_the_range_in_the_remedy_is_free(taken: list[tuple[int, int]], first: int):
    assert idmap.find_first_free(taken) == first


def test_issue9_c20_root_has_all_ids_and_its_projects_keep_them_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    ids = idmap.load_store_map(Paths(str(tmp_path), str(tmp_path / "run")))
    assert idmap.find_highest_id(ids) == 0x7FFF_FFFF
    for owner in (0, 1000, 65535, 65536, 70_000, 0x7FFF_FFFF):
        ranges = idmap.build_owner_map(ids, owner=owner, group=owner).uids
        assert idmap.map_to_host(ranges, owner) == ids.uids[0].outside
        assert idmap.map_to_host(ranges, 100_000) == idmap.map_to_host(ids.uids, 100_000)
        for side in (0, 1):
            spans = sorted((span[side], span[side] + span.count) for span in ranges)
            assert all(left[1] <= right[0] for left, right in itertools.pairwise(spans))
            assert spans[-1][1] <= 1 << 32


def test_issue9_c20_a_longer_map_of_the_same_ids_is_the_same():
    long = (*IDS.uids, Range(65536, 1 << 31, 1000))
    assert idmap.extends(long, IDS.uids)
    assert not idmap.extends(IDS.uids, long)
    assert not idmap.extends((Range(0, BASE + 1, 65536),), IDS.uids)
