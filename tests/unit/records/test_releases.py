"""The releases of a project on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from devbox.errors import UsageError
from devbox.host.paths import Paths
from devbox.model.release import Release, ReleaseConfig
from devbox.records.releases import Releases


def release(digits: str, day: int) -> Release:
    return Release(
        id=f"sha256:{digits.ljust(64, '0')}",
        image="sha256:1",
        config=ReleaseConfig(processes={}),
        source="git:1",
        created_at=f"2026-01-{day:02}T00:00:00Z",
    )


@pytest.fixture
def known(tmp_path: Path) -> Releases:
    found = Releases(Paths(str(tmp_path), str(tmp_path / "run")), "0123")
    for each in (release("abcd1", 1), release("abcd2", 3), release("ef01", 2)):
        found.add(each)
    return found


def test_the_newest_comes_first_and_again_when_it_is_made_again(known: Releases):
    assert [each.created_at[8:10] for each in known.all()] == ["03", "02", "01"]
    known.add(release("abcd1", 4))
    assert [each.created_at[8:10] for each in known.all()] == ["04", "03", "02"]


def test_the_first_digits_do(known: Releases):
    assert known.find("ef01") == known.find(release("ef01", 2).id) == known.find("sha256:ef010") == release("ef01", 2)
    assert known.find("") == release("abcd2", 3)


@pytest.mark.parametrize("name", ["abcd", "ef", "0000"])
def test_what_is_not_one_release_is_told(known: Releases, name: str):
    with pytest.raises(UsageError) as caught:
        known.find(name)
    assert caught.value.remedy == "devbox release ls"


def test_before_the_first_there_is_a_way_to_one(tmp_path: Path):
    nothing = Releases(Paths(str(tmp_path), str(tmp_path)), "0")
    assert nothing.all() == []
    with pytest.raises(UsageError) as caught:
        nothing.find("")
    assert "devbox build" in caught.value.remedy


def test_a_record_of_a_newer_devbox_is_left_alone(known: Releases, tmp_path: Path):
    (tmp_path / "projects/0123/releases/ffff.json").write_text('{"format": 2, "release": {}}')
    (tmp_path / "projects/0123/releases/eeee.json").write_text("nonsense")
    assert len(known.all()) == 3
