"""Changes of an install on the host, and which of them the user must decide."""

from __future__ import annotations

from dataclasses import replace

import pytest

from devbox.model.install import HostEntry, InstalledFile, Manifest
from devbox.plan import installs

OLD = InstalledFile(path="/bin/a", digest="sha256:1", mode=0o755)
NEW = replace(OLD, digest="sha256:2")
LINK = InstalledFile(path="/bin/l", digest="sha256:3", mode=0o777, kind="link")
OWN = Manifest(name="x", project="/p", instance="i", image="sha256:0", installed_at="", files=(OLD,))


def present(file: InstalledFile) -> HostEntry:
    return HostEntry(kind=file.kind, mode=file.mode, digest=file.digest)


def test_a_free_place_is_taken():
    found = installs.plan_placement((NEW, LINK), None, {}, {}, force=False)
    assert (found.put, found.conflicts) == ((NEW, LINK), ())


def test_what_is_there_already_stays():
    found = installs.plan_placement((OLD,), OWN, {"/bin/a": present(OLD)}, {}, force=False)
    assert not found
    assert (found.keep, found.conflicts) == ((OLD,), ())


def test_an_upgrade_replaces_changed_files_and_removes_dropped_ones():
    both = replace(OWN, files=(OLD, LINK))
    there = {"/bin/a": present(OLD), "/bin/l": present(LINK)}
    found = installs.plan_placement((NEW,), both, there, {}, force=False)
    assert (found.put, found.remove, found.conflicts) == ((NEW,), (LINK,), ())


def test_what_was_removed_by_hand_is_put_again_or_forgotten():
    assert installs.plan_placement((OLD,), OWN, {"/bin/a": None}, {}, force=False).put == (OLD,)
    assert not installs.plan_placement((), OWN, {"/bin/a": None}, {}, force=False)


@pytest.mark.parametrize(
    ("own", "there", "owners", "why"),
    [
        (None, present(OLD), {}, "not installed by devbox"),
        (None, present(NEW), {}, "not installed by devbox"),
        (OWN, replace(present(OLD), digest="sha256:9"), {}, "was changed"),
        (OWN, replace(present(OLD), mode=0o700), {}, "was changed"),
        (OWN, replace(present(OLD), kind="link"), {}, "was changed"),
        (None, present(OLD), {"/bin/a": "[install.y] of /q"}, "belongs to [install.y] of /q"),
    ],
)
def test_what_is_not_ours_is_in_the_way_until_forced(own, there, owners, why):
    found = installs.plan_placement((NEW,), own, {"/bin/a": there}, owners, force=False)
    assert [why in conflict.why for conflict in found.conflicts] == [True]
    assert not installs.plan_placement((NEW,), own, {"/bin/a": there}, owners, force=True).conflicts


@pytest.mark.parametrize("kind", ["directory", "other"])
def test_a_directory_is_never_replaced(kind):
    there = HostEntry(kind=kind, mode=0o755, digest="")
    assert installs.plan_placement((NEW,), OWN, {"/bin/a": there}, {}, force=True).conflicts[0].final
    assert installs.plan_placement((), OWN, {"/bin/a": there}, {}, force=True).conflicts[0].final


def test_a_changed_file_is_not_uninstalled_unasked():
    changed = replace(present(OLD), digest="sha256:9")
    assert installs.plan_placement((), OWN, {"/bin/a": changed}, {}, force=False).conflicts
    forced = installs.plan_placement((), OWN, {"/bin/a": changed}, {}, force=True)
    assert forced.remove == (replace(OLD, digest="sha256:9"),)


def test_each_file_has_a_state():
    three = replace(OWN, files=(OLD, LINK, replace(OLD, path="/bin/c")))
    there = {"/bin/a": present(OLD), "/bin/l": present(OLD), "/bin/c": None}
    assert installs.compute_state(three, there) == {"/bin/a": "installed", "/bin/l": "changed", "/bin/c": "missing"}
