"""Pure parts of the native engine: users, layers, writable layers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devbox.engines.native import image_files
from devbox.engines.native.data_dirs import WritableLayers
from devbox.errors import EngineError
from devbox.host.paths import Paths
from devbox.isolation import accounts
from devbox.isolation.types import IdMap, Range

PASSWD = "root:x:0:0:root:/root:/bin/bash\npostgres:x:105:110:,,,:/var/lib/postgresql:/bin/bash\nbroken line\n"
GROUP = "root:x:0:\npostgres:x:110:\nssl-cert:x:109:postgres\nstaff:x:50:other,postgres\n"


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        ("root", (0, 0, ())),
        ("postgres", (105, 110, (50, 109))),
        ("105", (105, 110, (50, 109))),
        ("postgres:staff", (105, 50, ())),
        ("1000:1000", (1000, 1000, ())),
        ("1000", (1000, 0, ())),
    ],
)
def test_users_are_found_in_the_image(user: str, ids: tuple[int, int, tuple[int, ...]]) -> None:
    account = accounts.find(user, PASSWD, GROUP)
    assert (account.uid, account.gid, account.groups[1:]) == ids
    assert account.groups[0] == account.gid


@pytest.mark.parametrize("user", ["nobody-here", "root:no-group"])
def test_an_unknown_user_or_group_is_an_error(user: str) -> None:
    with pytest.raises(EngineError, match="not found in the image"):
        accounts.find(user, PASSWD, GROUP)


def test_digits_of_other_scripts_are_no_numbers():
    with pytest.raises(EngineError, match="user ² not found"):
        accounts.find("²", PASSWD + "x:x:²:²::/:/bin/sh\n", GROUP)


@pytest.fixture
def lowers(tmp_path: Path) -> tuple[str, ...]:
    """Two layers: the upper one has `both`, the lower one `both`, `below` and `deep/er`."""
    for layer, files in (("upper", ["both"]), ("lower", ["both", "below", "deep/er"])):
        for name in files:
            path = tmp_path / layer / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(layer)
    return str(tmp_path / "upper"), str(tmp_path / "lower")


def test_the_topmost_layer_wins(lowers: tuple[str, ...]) -> None:
    assert image_files.read(lowers, "/both") == "upper"
    assert image_files.read(lowers, "/below") == "lower"
    assert image_files.read(lowers, "/deep/er") == "lower"
    assert image_files.read(lowers, "/nowhere") == ""


def test_a_file_in_the_place_of_a_directory_hides_it(lowers: tuple[str, ...]) -> None:
    Path(lowers[0], "deep").write_text("now a file")
    assert image_files.find(lowers, "/deep/er") is None


def test_a_link_to_a_directory_of_the_host_leads_nowhere(lowers: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "passwd").write_text(PASSWD)
    Path(lowers[0], "etc").symlink_to(tmp_path / "host")
    assert image_files.find(lowers, "/etc/passwd") is None
    assert image_files.find(lowers, "/etc") == f"{lowers[0]}/etc"


@pytest.mark.skipif(os.geteuid() != 0, reason="whiteouts are devices")
def test_a_whiteout_hides_what_is_below(lowers: tuple[str, ...]) -> None:
    os.mknod(f"{lowers[0]}/below", 0o20000, 0)
    os.mknod(f"{lowers[0]}/deep", 0o20000, 0)
    assert image_files.find(lowers, "/below") is None
    assert image_files.find(lowers, "/deep/er") is None


def test_an_opaque_directory_hides_what_is_below(lowers: tuple[str, ...]) -> None:
    os.mkdir(f"{lowers[0]}/deep")
    assert image_files.find(lowers, "/deep/er") == f"{lowers[1]}/deep/er"
    os.setxattr(f"{lowers[0]}/deep", "user.overlay.opaque", b"y")
    assert image_files.find(lowers, "/deep/er") is None


OWN = IdMap(rootless=False, uids=(Range(0, 0, 1),), gids=(Range(0, 0, 1),))


@pytest.fixture
def tops(tmp_path: Path) -> WritableLayers:
    return WritableLayers(Paths(str(tmp_path), str(tmp_path / "run")), "instance")


def test_a_kept_writable_layer_is_identified_by_its_image_and_setup(tops: WritableLayers) -> None:
    tops.prepare("dev", image_key="one", keep=True, idmap=OWN)
    assert (tops.list_kept()["dev"].image_key, tops.list_kept()["dev"].setup_key) == ("one", None)
    tops.record_setup("dev", "done")
    tops.prepare("dev", image_key="one", keep=True, idmap=OWN)
    assert tops.list_kept()["dev"].setup_key == "done"
    tops.prepare("dev", image_key="two", keep=True, idmap=OWN)
    assert tops.list_kept()["dev"].setup_key is None


def test_a_writable_layer_that_is_not_kept_is_new_each_time(tops: WritableLayers) -> None:
    path = tops.prepare("db", image_key="one", keep=False, idmap=OWN)
    Path(path, "upper").mkdir()
    assert tops.list_kept() == {}
    tops.prepare("db", image_key="one", keep=False, idmap=OWN)
    assert os.listdir(path) == []


def test_down_removes_what_is_not_kept(tops: WritableLayers) -> None:
    kept = tops.prepare("dev", image_key="one", keep=True, idmap=OWN)
    other = tops.prepare("db", image_key="one", keep=False, idmap=OWN)
    tops.remove_all(kept=False, idmap=OWN)
    assert (os.path.exists(kept), os.path.exists(other)) == (True, False)
    tops.remove_all(kept=True, idmap=OWN)
    assert not os.path.exists(kept)
