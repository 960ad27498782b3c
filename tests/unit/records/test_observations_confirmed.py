"""How far a host can rely on its records of stages: stored outside the home."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from devbox.errors import DevboxError
from devbox.host.paths import Paths
from devbox.records.observations import NEW, ConfirmedRecord, StageConfirmation

TIME = "2026-12-01T00:00:00+00:00"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "home"), str(tmp_path / "run"))


def test_nothing_is_known_at_first_and_reading_makes_nothing(paths: Paths):
    assert ConfirmedRecord(paths, "abc").read() == {}
    assert not Path(paths.config).exists()
    assert StageConfirmation() == StageConfirmation(confirmed="", joined=NEW)


def test_stages_are_kept_side_by_side(paths: Paths):
    names = [f"stage-{number}" for number in range(8)]
    writers = [
        threading.Thread(
            target=ConfirmedRecord(paths, "abc").write, args=(name, StageConfirmation(confirmed=TIME, joined=""))
        )
        for name in names
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    record = ConfirmedRecord(paths, "abc")
    assert record.read() == dict.fromkeys(names, StageConfirmation(confirmed=TIME, joined=""))
    assert not Path(paths.home).exists()
    record.forget()
    assert record.read() == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"format": 99}',
        '{"format": 1, "stages": {"x": {"joined": 1}}}',
        '{"format": 1, "stages": {"x": {"confirmed": "2026-12-01T00:00:00"}}}',
    ],
)
def test_a_damaged_record_is_an_error_with_a_remedy(paths: Paths, text: str):
    record = ConfirmedRecord(paths, "abc")
    record.write("staging", StageConfirmation())
    path = Path(paths.host_project("abc"), "confirmed.json")
    path.write_text(text)
    with pytest.raises(DevboxError, match="is damaged or from another devbox version") as error:
        record.read()
    assert f"rm {path}" in error.value.remedy
