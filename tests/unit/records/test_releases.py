"""The releases of a project on this host."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from devbox.errors import UsageError
from devbox.host.paths import Paths
from devbox.model.release import Release, ReleaseConfig
from devbox.records.releases import Releases


def release(source: str, day: int) -> Release:
    made = Release(
        id="",
        image="sha256:1",
        config=ReleaseConfig(processes={}),
        source=source,
        created_at=f"2026-01-{day:02}T00:00:00Z",
    )
    return replace(made, id=made.computed_id)


def _digits(source: str, count: int = 64) -> str:
    return release(source, 1).id.removeprefix("sha256:")[:count]


def _alike() -> tuple[str, str]:
    """Two sources whose releases begin with the same four digits."""
    seen: dict[str, str] = {}
    for number in range(10_000):
        source = f"git:{number}"
        if (other := seen.setdefault(_digits(source, 4), source)) != source:
            return other, source
    raise AssertionError


ONE, TWO = _alike()


@pytest.fixture
def known(tmp_path: Path) -> Releases:
    found = Releases(Paths(str(tmp_path), str(tmp_path / "run")), "0123")
    for each in (release(ONE, 1), release(TWO, 3), release("git:else", 2)):
        found.add(each)
    return found


def test_the_newest_comes_first_and_again_when_it_is_made_again(known: Releases):
    assert [each.created_at[8:10] for each in known.list_releases()] == ["03", "02", "01"]
    known.add(release(ONE, 4))
    assert [each.created_at[8:10] for each in known.list_releases()] == ["04", "03", "02"]


def test_the_first_digits_do(known: Releases):
    meant = release("git:else", 2)
    assert known.find(_digits("git:else", 4)) == known.find(meant.id) == known.find(meant.id[:12]) == meant
    assert known.find("") == release(TWO, 3)


@pytest.mark.parametrize("name", [_digits(ONE, 4), "ef", "00000000"])
def test_an_unknown_or_ambiguous_release_is_reported(known: Releases, name: str):
    with pytest.raises(UsageError) as caught:
        known.find(name)
    assert caught.value.remedy == "devbox release ls"


def test_before_the_first_there_is_a_way_to_one(tmp_path: Path):
    nothing = Releases(Paths(str(tmp_path), str(tmp_path)), "0")
    assert nothing.list_releases() == []
    with pytest.raises(UsageError) as caught:
        nothing.find("")
    assert "devbox build" in caught.value.remedy


def test_a_record_of_a_newer_devbox_is_left_alone(known: Releases, tmp_path: Path):
    (tmp_path / "projects/0123/releases/ffff.json").write_text('{"format": 2, "release": {}}')
    (tmp_path / "projects/0123/releases/eeee.json").write_text("nonsense")
    assert len(known.list_releases()) == 3


def test_issue10_2_a_record_that_names_another_image_under_the_id_of_a_release_is_left_out(known: Releases):
    """An image without any admission, stored under the id of an admitted release."""
    good = release("git:else", 2)
    known.add(replace(good, image="sha256:2"))
    assert good.id not in {each.id for each in known.list_releases()}
