"""The lock and a file's images: which are pinned, which are missing, which an upgrade unpins."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.builders import image

from devbox.errors import UsageError
from devbox.model.image import (
    FromDockerfile,
    FromRegistry,
    FromTarball,
    ImageConfig,
    ImageSpec,
    Packages,
    Run,
    key_image,
    pin_step,
)
from devbox.model.spec import Lockfile
from devbox.plan import locking

BASE = {"apt": "3.0.3", "libc6": "2.41-12"}
LESS = {"less": "668-1", "libpq5": "17.5-1", "libpq-dev": "17.5-1"}
LOCK = Lockfile(recipes={"debian": "sha256:1"}, bases={"debian trixie": BASE}, images={"dev": {"packages less": LESS}})
RECIPES = {"debian": "sha256:1"}


def dev(*packages: str) -> dict[str, ImageSpec]:
    return {"dev": replace(image("dev", *packages), recipe="debian")}


def test_a_complete_lock_pins_every_step():
    images = locking.lock_images(dev("less"), LOCK)
    assert [step.pins for step in images["dev"].steps] == [BASE, LESS]
    assert locking.list_missing(images, RECIPES, LOCK) == []
    assert locking.collect_lock(images, RECIPES, LOCK) == LOCK


def test_the_versions_belong_to_the_image_s_identity():
    unlocked, locked = dev("less"), locking.lock_images(dev("less"), LOCK)
    newer = locking.lock_images(dev("less"), replace(LOCK, images={"dev": {"packages less": LESS | {"less": "670-1"}}}))
    assert len({key_image("dev", images).key for images in (unlocked, locked, newer)}) == 3
    assert key_image("dev", locked).chain[0].key == key_image("dev", newer).chain[0].key


def test_a_longer_list_of_packages_prefers_the_versions_it_had():
    step = locking.lock_images(dev("less", "git"), LOCK)["dev"].steps[1]
    assert isinstance(step, Packages)
    assert step.pins is None
    assert step.prefer == LESS


def test_what_is_missing_is_named():
    images = locking.lock_images(dev("less", "git"), LOCK)
    assert locking.list_missing(images, {"debian": "sha256:2"}, LOCK) == [
        "the recipe debian has changed",
        "dev: packages less, git has no entry",
    ]
    assert locking.list_missing(dev("less"), RECIPES, Lockfile()) == [
        "the recipe debian has no entry",
        "debian trixie has no entry",
        "dev: packages less has no entry",
    ]


def test_an_image_that_is_not_baked_keeps_the_entries_it_had():
    images = locking.lock_images(dev("less", "git"), LOCK)
    assert locking.collect_lock(images, RECIPES, LOCK) == LOCK


def test_what_the_file_no_longer_has_goes_when_the_lock_is_written():
    images = locking.lock_images(dev("less"), LOCK)
    more = replace(LOCK, images=LOCK.images | {"service.db": {"packages redis": {"redis": "8"}}})
    assert locking.list_additions(more, locking.collect_lock(images, RECIPES, more)) == []
    assert locking.collect_lock(images, RECIPES, more) == LOCK


@pytest.mark.parametrize(
    ("name", "open_steps", "preferred"),
    [
        ("dev", [1], {}),
        ("debian", [1], {}),
        ("debian trixie", [0], {}),
        ("libc6", [0], {"apt": "3.0.3"}),
        ("libpq5", [1], {"less": "668-1"}),  # libpq-dev is of the same source
    ],
)
def test_an_upgrade_sets_free_what_it_names(name: str, open_steps: list[int], preferred: dict[str, str]):
    loose, changed = locking.unpin_images(locking.lock_images(dev("less"), LOCK), [name])
    steps = loose["dev"].steps
    assert changed == ("dev",)
    assert [at for at, step in enumerate(steps) if step.pins is None] == open_steps
    assert steps[open_steps[0]].prefer == preferred


def test_an_upgrade_of_everything_opens_every_step():
    loose, changed = locking.unpin_images(locking.lock_images(dev("less"), LOCK), None)
    assert changed == ("dev",)
    assert loose == dev("less")


def test_an_unknown_name_is_refused():
    with pytest.raises(UsageError, match="nosuch"):
        locking.unpin_images(locking.lock_images(dev("less"), LOCK), ["nosuch"])


def test_commands_have_an_entry_only_where_they_install_something():
    run = Run(commands=("pip install flask",))
    spec = ImageSpec(name="dev", parent=None, steps=(run,), config=ImageConfig())
    assert locking.list_missing({"dev": spec}, {}, Lockfile()) == []
    assert locking.collect_lock({"dev": spec}, {}, Lockfile()) == Lockfile()
    found = replace(spec, steps=(pin_step(run, {"pip:flask": "3.1.0"}),))
    assert locking.collect_lock({"dev": found}, {}, Lockfile()).images == {
        "dev": {locking.name_steps([run])[0]: {"pip:flask": "3.1.0"}}
    }


def test_a_step_that_installs_more_or_less_than_its_entry_has_a_new_one():
    before = Lockfile(images={"dev": {"run x": {"pip:a": "1", "pip:b": "1"}, "run y": {"pip:c": "1"}}})
    for now in ({"pip:a": "1"}, {"pip:a": "1", "pip:b": "1", "pip:d": "1"}):
        assert locking.list_additions(before, Lockfile(images={"dev": {"run x": now}})) == ["image dev: run x"]
    assert locking.list_additions(before, Lockfile(images={"dev": {"run y": {"pip:c": "1"}}})) == []


def test_steps_that_do_the_same_have_names_of_their_own():
    run = Run(commands=("make",))
    assert locking.name_steps((run, Packages(names=("less",)), run)) == ("run make", "packages less", "run make #2")


def test_changes_are_printed_one_per_line():
    after = replace(LOCK, bases={"debian trixie": {"apt": "3.0.4", "dash": "0.5"}})
    assert locking.list_changes(LOCK, after) == [
        "base debian trixie",
        "  ~ apt 3.0.3 → 3.0.4",
        "  + dash 0.5",
        "  - libc6 2.41-12",
    ]
    assert locking.list_changes(LOCK, LOCK) == []


def test_an_image_of_a_registry_is_locked_by_its_digest():
    spec = ImageSpec(name="dev", parent=None, steps=(FromRegistry(reference="redis:8"),), config=ImageConfig())
    assert locking.list_missing({"dev": spec}, {}, Lockfile()) == ["dev: image redis:8 has no entry"]
    lock = Lockfile(references={"redis:8": "sha256:ab"})
    fixed = locking.lock_images({"dev": spec}, lock)
    assert fixed["dev"].steps[0].pins == {"redis:8": "sha256:ab"}
    assert locking.list_missing(fixed, {}, lock) == []
    assert locking.collect_lock(fixed, {}, Lockfile()) == lock
    assert locking.collect_lock({"dev": spec}, {}, lock) == lock
    loose, changed = locking.unpin_images(fixed, ["redis:8"])
    assert (loose, changed) == ({"dev": spec}, ("dev",))


ONE, TWO = {"b/one:1": "sha256:1"}, {"b/two:1": "sha256:2"}


def built(**fields: Any) -> dict[str, ImageSpec]:
    step = FromDockerfile(path="Dockerfile", begins=("b/one:1", "b/two:1"), **fields)
    return {"dev": ImageSpec(name="dev", parent=None, steps=(step,), config=ImageConfig())}


def test_images_that_a_dockerfile_begins_with_are_missing_until_each_has_an_entry():
    one, two = (f"dev: dockerfile Dockerfile: {name} has no entry" for name in ("b/one:1", "b/two:1"))
    assert locking.list_missing(built(), {}, Lockfile()) == [one, two]
    assert locking.list_missing(built(prefer=ONE), {}, Lockfile()) == [two]
    assert locking.list_missing(built(pins=ONE | TWO), {}, Lockfile()) == []


def test_a_dockerfile_has_an_entry_of_the_images_it_begins_with_now():
    before = Lockfile(images={"dev": {"dockerfile Dockerfile": ONE}})
    step = pin_step(built(prefer=ONE)["dev"].steps[0], ONE | TWO)
    assert step == built(pins=ONE | TWO)["dev"].steps[0]
    after = locking.collect_lock({"dev": replace(built()["dev"], steps=(step,))}, {}, before)
    assert after.images == {"dev": {"dockerfile Dockerfile": ONE | TWO}}
    assert locking.list_additions(before, after)
    # What is not baked yet keeps what it had.
    assert locking.collect_lock(built(prefer=ONE), {}, before) == before


@pytest.mark.parametrize("fields", [{"pins": ONE | TWO}, {"prefer": ONE | TWO}])
def test_an_upgrade_of_one_image_that_a_dockerfile_begins_with_prefers_the_others(fields: dict[str, Any]):
    assert locking.unpin_images(built(**fields), ["b/one:1"])[0] == built(prefer=TWO)
    assert locking.unpin_images(built(**fields), ["dev"])[0] == built()
    assert locking.unlock_images(built(**fields)) == built()


def test_a_tarball_is_locked_by_what_it_holds():
    step = FromTarball(path="root.tar", content="sha256:ab", root="/src")
    spec = ImageSpec(name="dev", parent=None, steps=(step,), config=ImageConfig())
    assert locking.list_missing({"dev": spec}, {}, Lockfile()) == ["the tarball root.tar has no entry"]
    lock = locking.collect_lock({"dev": spec}, {}, Lockfile())
    assert lock == Lockfile(tarballs={"root.tar": "sha256:ab"})
    assert locking.list_missing({"dev": spec}, {}, lock) == []
    other = replace(spec, steps=(replace(step, content="sha256:cd"),))
    assert locking.list_missing({"dev": other}, {}, lock) == ["the tarball root.tar has changed"]
    assert locking.list_changes(lock, locking.collect_lock({"dev": other}, {}, lock)) == [
        "tarballs",
        "  ~ root.tar sha256:ab → sha256:cd",
    ]
    absent = replace(spec, steps=(FromTarball(path="root.tar"),))
    assert locking.lock_images({"dev": absent}, lock)["dev"].steps[0].content == "sha256:ab"
    assert locking.collect_lock({"dev": absent}, {}, lock) == lock


def test_variants_of_an_image_have_entries_of_their_own():
    older = LESS | {"less": "590-1"}
    lock = replace(LOCK, images=LOCK.images | {"dev [suite=old]": {"packages less": older}})
    found = locking.lock_images(dev("less"), lock, names={"dev": "dev [suite=old]"})
    assert found["dev"].steps[1].pins == older
    assert locking.lock_images(dev("less"), lock)["dev"].steps[1].pins == LESS

    # What is written of the file without its matrix leaves the cells' entries alone, and drops what nothing has.
    more = replace(lock, images=lock.images | {"service.gone": {"packages redis": {"redis": "8"}}})
    plain = locking.collect_lock(locking.lock_images(dev("less"), more), RECIPES, more)
    assert locking.retain_cell_entries(more, plain) == lock

    both = {**locking.lock_images(dev("less"), lock), "dev [suite=old]": replace(found["dev"], name="dev [suite=old]")}
    assert locking.collect_lock(both, RECIPES, Lockfile()) == lock
    for name in ("dev", "dev [suite=old]", "debian"):
        assert "dev [suite=old]" in locking.unpin_images(both, [name])[1]
    assert locking.is_built("test [python=3.9]")
