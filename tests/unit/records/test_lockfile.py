"""The lock on disk: it round-trips, sorted; a malformed one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from devbox.errors import EnvFileError
from devbox.model.spec import Lockfile
from devbox.records import lockfile

LOCK = Lockfile(
    recipes={"python": "sha256:ab"},
    references={"docker.io/library/nginx:1": "sha256:cd"},
    tarballs={"containers/root.tar": "sha256:ef"},
    bases={"debian trixie": {"libstdc++6": "14.2.0-19", "apt": "3.0.3"}},
    images={"base.py": {'run echo "x" \\ #1': {"pip:flask": "3.1.0"}, "packages less": {}}},
)


def test_a_lock_round_trips(tmp_path: Path):
    place = lockfile.get_path(str(tmp_path), "devbox.toml")
    assert place == f"{tmp_path}/devbox.lock.toml"
    assert lockfile.read(place) is None
    lockfile.write(place, LOCK, env_file="devbox.toml")
    assert lockfile.read(place) == LOCK


def test_the_text_is_sorted_with_a_package_a_line():
    lines = lockfile.render(LOCK, env_file="devbox.toml").splitlines()
    at = lines.index('[base."debian trixie"]')
    assert lines[at + 1 : at + 3] == ['apt = "3.0.3"', '"libstdc++6" = "14.2.0-19"']
    assert "format = 1" in lines


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("format = 99\n", "newer devbox"),
        ("<<<<<<< HEAD\n", "cannot parse"),
        ("", "cannot parse"),
        ("format = 1\n[base.x]\na = 1\n", "expected a string"),
        ("format = 1\nbase = 3\n", "cannot parse"),
    ],
)
def test_a_lock_that_is_not_understood_is_an_error_with_a_remedy(tmp_path: Path, text: str, said: str):
    place = tmp_path / "devbox.lock.toml"
    place.write_text(text)
    with pytest.raises(EnvFileError, match=said) as caught:
        lockfile.read(str(place))
    assert caught.value.remedy
