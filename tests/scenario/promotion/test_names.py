"""A release's abbreviated id resolves to a built or recorded release, never to a file below the home."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
from scenario.promotion.test_denials import KEYS, Signed
from scenario.promotion.test_machines import Machine, _staged, machines, served
from support.shop import APP

from devbox.attest import attachments, statements, verify
from devbox.cli import main
from devbox.commands import approvals, signing
from devbox.commands import promote as verbs
from devbox.commands.signing import NamedSigner
from devbox.errors import Denied, UsageError
from devbox.execute.events import StepEnded
from devbox.model import codec, ids
from devbox.model.release import Process, Release
from devbox.project import prepare
from devbox.promotion import copying, target
from devbox.records.releases import Releases

__all__ = ["machines", "served"]

DIGITS = 4  # as few as name a release; 12 are shown, which take an attacker hours
GATED = APP.replace('"test", "staging", "production"', '"test"') + KEYS
GATED += '[stage.test]\ngates = [{ kind = "signature" }]\n'


def _alike(made: Release, *, image: str = "") -> Release:
    """A release with another command (and image) whose id begins with the same digits."""
    processes = {"web": Process(kind="service", command=("/bin/sh", "-c", "curl evil.example"))}
    found = replace(made, image=image or made.image, config=replace(made.config, processes=processes))
    plain = {"config": found.config_digest, "image": found.image}
    desired = made.id[: len("sha256:") + DIGITS]
    for number in itertools.count():
        source = f"git:{number:040x}"
        if (identity := ids.compute_key({**plain, "source": source})).startswith(desired):
            found = replace(found, source=source, id=identity)
            assert found.id == found.computed_id
            return found
    raise AssertionError


def _replace(signed: Signed, made: Release, forged: Release) -> str:
    """Put another release below the home instead of one; the digits that both begin with."""
    place = Path(signed.shop.opened.paths.releases(signed.shop.opened.id))
    (place / f"{made.id[7:]}.json").unlink()
    (place / f"{forged.id[7:]}.json").write_text(json.dumps({"format": 1, "release": codec.dump(forged)}))
    return made.id.removeprefix("sha256:")[:DIGITS]


@pytest.fixture
def signed(tmp_path: Path, home: Path) -> Signed:
    return Signed(tmp_path, GATED)


def _built(signed: Signed, number: int = 1) -> Release:
    made, opened = signed.shop.release(number), signed.shop.opened
    by = signing.choose_builder(opened, prepare(opened), "ci", None)
    signing.sign_built(opened, prepare(opened), made, by, started=dt.datetime.now(dt.UTC))
    return made


def test_issue10_2_digits_do_not_name_a_release_that_was_put_below_the_home(signed: Signed):
    made, shop = _built(signed), signed.shop
    digits = _replace(signed, made, _alike(made))
    with pytest.raises(UsageError, match=f"{made.short_id}.* is missing"):
        shop.promote("test", replace(made, id=digits))
    assert not shop.environment("test").log()


def test_issue10_2_an_image_that_was_put_below_the_home_is_not_signed_by_digits(signed: Signed):
    made, shop = _built(signed), signed.shop
    other = shop.release(9).image
    digits = _replace(signed, made, _alike(made, image=other))
    with pytest.raises(UsageError, match="is missing"):
        signing.sign(shop.opened, prepare(shop.opened), digits, lambda _: None, key="ci", ask=None)
    known = {signed.people["ci"].public.fingerprint: signed.people["ci"].public}
    found = verify.list_findings(other, attachments.open_store(shop.opened.paths), known)
    assert not [each for each in found if each.what == statements.SIGNATURE]


def test_issue10_2_a_revocation_by_digits_is_about_no_other_release(signed: Signed):
    made, shop = _built(signed), signed.shop
    forged = _alike(made)
    digits = _replace(signed, made, forged)
    with pytest.raises(UsageError, match="is missing"):
        signing.revoke(shop.opened, prepare(shop.opened), digits, lambda _: None, reason="bad", key="ci", ask=None)
    assert shop.history().find_revocation(forged.id) is None


def test_issue10_2_a_release_that_no_record_names_is_meant_by_its_whole_id_only(signed: Signed):
    made, shop = _built(signed), signed.shop
    forged = _alike(made)
    _replace(signed, made, forged)
    opened = shop.opened
    releases = Releases(opened.paths, opened.id)
    with pytest.raises(UsageError, match="no stage record") as refusal:
        releases.find(forged.id[7:30])
    assert forged.id in refusal.value.remedy
    assert releases.find(forged.id) == forged
    assert shop.release(1) == made
    assert releases.find(made.id[7 : 7 + DIGITS]) == made, "the forged one makes nothing ambiguous"


def test_issue10_2_digits_of_another_host_s_release_resolve_by_its_record(
    machines: tuple[Machine, Machine],
):
    """A document attached at a registry does not replace the previous stage's release."""
    one, two = machines
    made = _staged(one)
    opened = one.use().opened
    forged = _alike(made)
    top = attachments.find_subject(made.image, attachments.open_store(opened.paths))
    target.attach_release(forged, top, attachments.open_store(opened.paths))
    copying.send(made.image, prepare(opened).stages.values(), lambda _: None, paths=opened.paths)
    two.use()
    assert two.promote("production", made.id[7 : 7 + DIGITS]).deployment.release.id == made.id
    assert forged in two.releases()


def test_issue10_2_nothing_is_approved_that_was_only_put_below_the_home(tmp_path: Path, home: Path):
    """Nothing was in the stage before: the newest file below the home was approved."""
    signed = Signed(tmp_path, APP + KEYS)
    forged = replace(_alike(signed.shop.release(1)), created_at="2099-01-01T00:00:00Z")
    place = Path(signed.shop.opened.paths.releases(signed.shop.opened.id))
    (place / f"{forged.id[7:]}.json").write_text(json.dumps({"format": 1, "release": codec.dump(forged)}))
    opened = signed.shop.opened
    with pytest.raises(UsageError, match="missing argument: RELEASE"):
        approvals.approve(opened, prepare(opened), "staging", "", lambda _: None, key="ann", ask=None)
    assert not signed.shop.entries()


def test_issue10_3_a_release_that_is_built_after_the_clock_was_set_back_is_the_newest(signed: Signed):
    """The one that was built before stayed the newest until its time came again."""
    opened, made = signed.shop.opened, signed.shop.release(1)
    ahead = replace(made, source="git:ahead", created_at="2099-01-01T00:00:00Z")
    ahead = replace(ahead, id=ahead.computed_id)
    releases = Releases(opened.paths, opened.id)
    releases.add(ahead)
    assert releases.find("") == ahead
    newer = signed.shop.release(2)
    assert releases.find("") == newer


def test_issue10_a_release_that_only_another_host_has_is_revoked_by_its_digits(
    machines: tuple[Machine, Machine], capsys: pytest.CaptureFixture[str]
):
    """It was not found. And the log had the revocation once for each stage."""
    one, two = machines
    made = _staged(one)
    root = two.use().root
    assert main.run(["-C", root, "release", "revoke", "-y", made.id[7 : 7 + DIGITS], "--key", "ci"]) == 0
    with pytest.raises(Denied, match="revoked"):
        one.promote("production")
    capsys.readouterr()
    assert main.run(["-C", one.use().root, "release", "log"]) == 0
    assert capsys.readouterr().out.count(" revoked ") == 1


def test_issue10_a_repository_without_images_is_not_a_failed_pull(machines: tuple[Machine, Machine]):
    """The stage before got its repository after the promotion to it."""
    one, _ = machines
    shop, by, seen = one.use(), NamedSigner("ci", one._signer), []
    text = Path(shop.root, "devbox.toml").read_text()
    shop.rewrite("\n".join(line for line in text.splitlines() if not line.endswith('/test"')) + "\n")
    made = shop.release(1)
    one.promote("test", made.id)
    shop.rewrite(text)
    verbs.promote(shop.opened, seen.append, stage="staging", release=made.id, environments=shop._environments, by=by)
    assert not [event for event in seen if isinstance(event, StepEnded) and event.outcome == "failed"]
