"""A file below DEVBOX_HOME that leads a project to the records of another one promotes nothing there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support.shop import APP, Shop

from devbox.errors import Denied, HostError
from devbox.host.paths import default_paths
from devbox.model.ids import instance_id
from devbox.opened import open_project
from devbox.records.instance import InstanceRecords
from devbox.verbs import promote as verbs

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
    path = default_paths().moved(key)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_text(to)


def test_issue10_2_a_project_that_is_led_to_another_one_promotes_nothing_there(shops: tuple[Shop, Shop]):
    gated, toy = shops
    with pytest.raises(Denied, match="must approve"):
        gated.promote("production")
    entries = gated.entries()
    _lead(instance_id(toy.root, "devbox.toml"), gated.opened.id)
    assert toy.opened.id == gated.opened.id
    for act in (toy.promote, toy.rollback, toy.why):
        with pytest.raises(HostError, match="belong to the project"):
            act("production")
    assert gated.entries() == entries
    os.unlink(default_paths().moved(instance_id(toy.root, "devbox.toml")))
    assert toy.promote("production").changed


def test_issue10_2_another_env_file_of_the_project_promotes_nothing_with_its_history(shops: tuple[Shop, Shop]):
    gated, _ = shops
    Path(gated.root, "other.toml").write_text(APP)
    _lead(instance_id(gated.root, "other.toml"), gated.opened.id)
    opened = open_project(gated.root, file=f"{gated.root}/other.toml")
    assert opened.id == gated.opened.id
    with pytest.raises(HostError, match="belong to the project"):
        verbs.promote(opened, lambda _: None, stage="production", environments=gated._environments)


def test_a_project_that_is_moved_goes_on_with_its_history(shops: tuple[Shop, Shop]):
    _, toy = shops
    known, before = toy.opened.id, toy.root
    InstanceRecords(default_paths(), known).remember_place(before, "devbox.toml")
    toy.root = f"{before}-moved"
    os.rename(before, toy.root)
    assert toy.opened.id == known
    assert toy.promote("production").changed
    shutil.copytree(toy.root, f"{toy.root}-again")
    shutil.rmtree(toy.root)
    os.rename(f"{toy.root}-again", toy.root)
    assert toy.opened.id == known, "a fresh clone at its place"
    assert toy.why("production")
