"""devbox installed from its packages in fresh systems: Debian 12, Debian 13, Ubuntu 24.04; as root and as a user."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import packages, roots

from devbox.host.version import VERSION

pytestmark = pytest.mark.long

USERS = ("", "ann")
_ENVIRONMENT = {"DEVBOX_CACHE": "/run/host/cache"}


def start(room: roots.Room, user: str, *, devbox: str = "devbox") -> str:
    """Create a project and start it; return its directory."""
    env = {} if user else _ENVIRONMENT
    place = f"/home/{user}/p" if user else "/root/p"
    room.run(f"mkdir {place} && cd {place} && {devbox} init && {devbox} up", user=user, env=env)
    assert room.run(f"{devbox} exec -- cat /etc/os-release", user=user, cwd=place).stdout.startswith("PRETTY_NAME")
    return place


def read_state(room: roots.Room, user: str, place: str, *, devbox: str = "devbox") -> dict[str, object]:
    """The state of the dev container."""
    (row,) = json.loads(room.run(f"{devbox} ps --json", user=user, cwd=place).stdout)
    return row


def stop(room: roots.Room, user: str, place: str, *, devbox: str = "devbox") -> None:
    room.run(f"{devbox} down -v -y", user=user, cwd=place)
    assert json.loads(room.run(f"{devbox} ps --json", user=user, cwd=place).stdout) == []


def test_the_debian_package_works_is_upgraded_while_a_project_runs_and_is_removed(
    room: roots.Room, distribution, wheel: Path, tmp_path: Path
):
    room.run("apt-get install -y -qq --no-install-recommends man-db")
    packages.install_deb(room, distribution)
    assert room.run("devbox version").stdout == f"devbox {VERSION}\n"
    assert room.run("man -w devbox devbox-image-ls").stdout.count(".1.gz") == 2
    assert room.run("devbox docs tests --path", user="ann").stdout.endswith("/site/how-to/tests.html\n")
    places = {}
    for user in USERS:
        assert "no problems found" in room.run("devbox doctor --offline", user=user).stderr
        assert "nothing to install" in room.run("devbox doctor --install", user=user).stderr
        places[user] = start(room, user)
    before = {user: read_state(room, user, place) for user, place in places.items()}

    later = packages.build_deb(distribution.name, wheel, tmp_path / "later", revision="2")
    (room.root / "later.deb").write_bytes(later.read_bytes())
    room.run("apt-get install -y -qq /later.deb")
    for user, place in places.items():
        after = read_state(room, user, place)
        assert (after["pid"], after["state"]) == (before[user]["pid"], "running")
        assert room.run("devbox exec -- echo ok", user=user, cwd=place).stdout == "ok\n"
        room.run("devbox up && devbox restart", user=user, cwd=place)
        stop(room, user, place)

    room.run("apt-get purge -y -qq devbox")
    assert not (room.root / "usr/lib/devbox").exists()
    assert not (room.root / "usr/bin/devbox").exists()
    assert (room.root / "var/lib/devbox/oci").exists(), "state of users stays"
    assert room.run("dpkg --audit").stdout == ""


def test_a_removed_package_is_installed_again_while_a_project_runs(room: roots.Room, distribution):
    packages.install_deb(room, distribution)
    place = start(room, "")
    before = read_state(room, "", place)
    room.run("apt-get purge -y -qq devbox")
    packages.install_deb(room, distribution)
    assert read_state(room, "", place)["pid"] == before["pid"]
    stop(room, "", place)


@pytest.mark.parametrize("user", USERS, ids=["root", "user"])
def test_the_wheel_works_after_doctor_installs_what_is_missing(room: roots.Room, user: str):
    devbox, printed = packages.install_wheel(room, user)
    assert printed.startswith(f"{'sudo ' if user else ''}apt-get install --no-install-recommends ")
    assert "no problems found" in room.run(f"{devbox} doctor --offline", user=user).stderr
    place = start(room, user, devbox=devbox)
    stop(room, user, place, devbox=devbox)
