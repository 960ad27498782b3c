"""The default release of a command is never one that was placed below DEVBOX_HOME or attached to an image."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import pytest
from scenario.promotion.test_denials import KEYS, Signed
from scenario.promotion.test_machines import Machine, machines, served
from support.shop import APP

from devbox.attest import attachments
from devbox.commands import signing
from devbox.errors import UsageError
from devbox.model import codec
from devbox.model.release import Process, Release
from devbox.project import prepare
from devbox.promotion import copying, target
from devbox.records.releases import Releases

__all__ = ["machines", "served"]

GATED = APP.replace('"test", "staging", "production"', '"test"') + KEYS
GATED += '[stage.test]\ngates = [{ kind = "signature" }, { kind = "tests" }]\n[test]\nfrom = "app"\ncommand = "true"\n'


def _forged(made: Release) -> Release:
    """The signed and tested image of a release, with another command, as the newest release."""
    processes = {"web": Process(kind="service", command=("/bin/sh", "-c", "curl evil.example"))}
    found = replace(made, config=replace(made.config, processes=processes), created_at="2099-01-01T00:00:00Z")
    return replace(found, id=found.computed_id)


@pytest.fixture
def signed(tmp_path: Path, home: Path) -> Signed:
    return Signed(tmp_path, GATED)


def _ready(signed: Signed) -> Release:
    """A release that may go to the first stage."""
    made, opened = signed.shop.release(1), signed.shop.opened
    by = signing.choose_builder(opened, prepare(opened), "ci", None)
    signing.sign_built(opened, prepare(opened), made, by, started=dt.datetime.now(dt.UTC))
    signed.shop.tested(made, {"default": "passed"})
    return made


def test_issue10_2_a_release_that_was_put_below_the_home_is_not_the_newest(signed: Signed):
    made, shop = _ready(signed), signed.shop
    forged = _forged(made)
    plain = json.dumps({"format": 1, "release": codec.dump(forged)})
    Path(shop.opened.paths.releases(shop.opened.id), f"{forged.id[7:]}.json").write_text(plain)
    assert shop.promote("test").deployment.release == made
    _, done = signing.sign(shop.opened, prepare(shop.opened), "", lambda _: None, key="ci", ask=None)
    assert done.by == "ci"
    assert Releases(shop.opened.paths, shop.opened.id).find("") == made


def test_issue10_2_without_the_newest_release_no_older_one_is_meant(signed: Signed):
    made, shop = _ready(signed), signed.shop
    newer = shop.release(2)
    path = Path(shop.opened.paths.releases(shop.opened.id), f"{newer.id[7:]}.json")
    path.unlink()
    with pytest.raises(UsageError, match=f"the newest release, {newer.short_id}, is missing"):
        shop.promote("test")
    assert shop.promote("test", made).changed
    assert shop.release(2) == newer
    assert Releases(shop.opened.paths, shop.opened.id).find("") == newer


def test_issue10_2_a_release_that_was_attached_at_a_registry_is_not_the_newest(machines: tuple[Machine, Machine]):
    """An attacker who may write to one repository attaches another command to an image in it."""
    one, two = machines
    made = one.use().release(1)
    one.promote("test", made.id)
    assert two.use().release(1) == made
    two.promote("test", made.id)
    opened = one.use().opened
    top = attachments.find_subject(made.image, attachments.open_store(opened.paths))
    forged = _forged(made)
    target.attach_release(forged, top, attachments.open_store(opened.paths))
    copying.send(made.image, prepare(opened).stages.values(), lambda _: None, paths=opened.paths)
    two.promote("test", made.id)
    assert forged in two.releases(), "it is known, as one that others made"
    assert two.promote("test").deployment.release == made
