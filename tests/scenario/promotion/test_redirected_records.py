"""A file below DEVBOX_HOME that redirects a project to another project's records enables no promotion."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support.resolving import write_project
from support.shop import APP, Shop

from devbox.commands import build
from devbox.commands import promote as verbs
from devbox.commands.test_evidence import EvidenceRecorder
from devbox.doctor import leftovers
from devbox.errors import Denied, HostError
from devbox.host.paths import get_default_paths
from devbox.model.ids import compute_instance_id
from devbox.model.ledger import REVOKED
from devbox.project import open_project
from devbox.records.instance import InstanceRecords

GATED = APP + '[stage.production]\ngates = [{ kind = "approval" }]\n'


@pytest.fixture
def shops(tmp_path: Path, home: Path) -> tuple[Shop, Shop]:
    """A project whose production asks for an approval, and a toy without gates, each with its history."""
    gated, toy = Shop(tmp_path, GATED, project="gated"), Shop(tmp_path, APP, project="toy")
    for shop, number in ((gated, 1), (toy, 2)):
        made = shop.release(number)
        for stage in ("test", "staging"):
            shop.promote(stage, made)
    return gated, toy


def _lead(key: str, to: str) -> None:
    path = get_default_paths().moved_project(key)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_text(to)


def test_issue10_2_a_project_that_is_led_to_another_one_promotes_nothing_there(shops: tuple[Shop, Shop]):
    gated, toy = shops
    with pytest.raises(Denied, match="approvals required"):
        gated.promote("production")
    entries = gated.entries()
    _lead(compute_instance_id(toy.root, "devbox.toml"), gated.opened.id)
    assert toy.opened.id == gated.opened.id
    for act in (toy.promote, toy.rollback, toy.why):
        with pytest.raises(HostError, match="belong to the project"):
            act("production")
    assert gated.entries() == entries
    os.unlink(get_default_paths().moved_project(compute_instance_id(toy.root, "devbox.toml")))
    assert toy.promote("production").changed


def test_issue10_2_another_env_file_of_the_project_promotes_nothing_with_its_history(shops: tuple[Shop, Shop]):
    gated, _ = shops
    Path(gated.root, "other.toml").write_text(APP)
    _lead(compute_instance_id(gated.root, "other.toml"), gated.opened.id)
    project = open_project(gated.root, file=f"{gated.root}/other.toml")
    assert project.id == gated.opened.id
    with pytest.raises(HostError, match="belong to the project"):
        verbs.promote(project, lambda _: None, stage="production", environments=gated._environments)


def test_issue10_2_a_project_that_is_led_away_from_its_releases_promotes_nothing(shops: tuple[Shop, Shop]):
    """The instance without history had no revocation either: a revoked release was promoted to the first stage."""
    gated, _ = shops
    made, known = gated.release(7), gated.opened.id
    gated.ledger.append(REVOKED, release=made.id, body={"reason": "bad"})
    paths = get_default_paths()
    _lead(known, "f" * 12)
    shutil.copytree(paths.project(known), paths.project("f" * 12))
    assert gated.opened.id != known
    for act in (lambda: gated.promote("test", made), lambda: gated.why("test", made), lambda: gated.rollback("test")):
        with pytest.raises(HostError, match="has ffffffffffff") as refusal:
            act()
    os.unlink(refusal.value.remedy.removeprefix("rm -f ").partition(";")[0])
    assert gated.opened.id == known
    with pytest.raises(Denied, match="revoked"):
        gated.promote("test", made)


def test_issue10_2_a_project_with_releases_is_not_pruned_for_a_file_below_the_home(shops: tuple[Shop, Shop]):
    """With a forged place, `doctor --prune` forgot where its releases belong."""
    gated, toy = shops
    paths = get_default_paths()
    for shop in shops:
        InstanceRecords(paths, shop.opened.id).record_place(f"{shop.root}-gone", "devbox.toml")
    known = {each.id for each in leftovers.find_removable(paths, leftovers.list_instances(paths))}
    assert not known & {gated.opened.id, toy.opened.id}
    known_toy = toy.opened.id
    shutil.rmtree(toy.root)
    assert known_toy in {each.id for each in leftovers.find_removable(paths, leftovers.list_instances(paths))}


def test_issue10_2_a_project_at_the_place_of_one_that_was_moved_has_a_history_of_its_own(shops: tuple[Shop, Shop]):
    _, toy = shops
    known, before = toy.opened.id, toy.root
    InstanceRecords(get_default_paths(), known).record_place(before, "devbox.toml")
    os.rename(before, f"{before}-moved")
    write_project(before, APP)
    assert toy.opened.id != known
    assert toy.promote("test", toy.release(5)).changed


def test_issue10_2_a_project_that_is_led_to_another_one_leaves_no_release_and_no_evidence_there(
    shops: tuple[Shop, Shop], monkeypatch: pytest.MonkeyPatch
):
    """Its build became the newest release of the other project and was promoted to its first stage."""
    gated, toy = shops
    newest = gated.release(8)
    monkeypatch.setattr(build, "make", lambda *_words, **_named: pytest.fail("it was built"))
    _lead(compute_instance_id(toy.root, "devbox.toml"), gated.opened.id)
    with pytest.raises(HostError, match="belong to the project"):
        build.build(toy.opened, lambda _: None)
    with pytest.raises(HostError, match="belong to the project"):
        EvidenceRecorder(toy.opened, newest, ())


def test_a_moved_project_keeps_its_history(shops: tuple[Shop, Shop]):
    _, toy = shops
    known, before = toy.opened.id, toy.root
    InstanceRecords(get_default_paths(), known).record_place(before, "devbox.toml")
    toy.root = f"{before}-moved"
    os.rename(before, toy.root)
    assert toy.opened.id == known
    assert toy.promote("production").changed
    shutil.copytree(toy.root, f"{toy.root}-again")
    shutil.rmtree(toy.root)
    os.rename(f"{toy.root}-again", toy.root)
    assert toy.opened.id == known, "a fresh clone at its place"
    assert toy.why("production")
