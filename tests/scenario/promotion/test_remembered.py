"""A host remembers failed tests and revocations after their attachments are deleted and after devbox is killed."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scenario.promotion.test_denials import APPROVED, Signed
from scenario.promotion.test_evidence import _keep, tested_machines
from scenario.promotion.test_machines import Machine, _staged, machines, served
from support.registry import Registry

from devbox.attest import attachments, statements, verify
from devbox.commands import promote as verbs
from devbox.commands import signing as words
from devbox.commands.signing import NamedSigner
from devbox.commands.test_evidence import EvidenceRecorder
from devbox.errors import Denied, LedgerDamaged
from devbox.images.store import documents, layout
from devbox.images.store.layout import Descriptor
from devbox.model import codec, ids
from devbox.model.ledger import REVOKED, TESTED
from devbox.model.plan import FAIL, PASS
from devbox.model.release import Release
from devbox.project import prepare
from devbox.promotion import copying, target
from devbox.records.host_files import Anchors
from devbox.records.ledger import Ledger

__all__ = ["machines", "served", "tested_machines"]


class _Killed(BaseException):
    """Substitute for SIGKILL: no handler of devbox catches it."""


def _without_attachments(machine: Machine, registry: Registry) -> None:
    """Delete all attachments of images, in the stores of all hosts and in the registry."""
    index = Path(machine.use().opened.paths.oci, "index.json")
    plain = documents.parse(index.read_bytes())
    plain["manifests"] = [each for each in plain["manifests"] if each.get("annotations")]
    index.write_bytes(ids.encode_canonical_json(plain))
    for tag in registry.place.glob("data/docker/registry/v2/repositories/**/_manifests/tags/sha256-*"):
        shutil.rmtree(tag)


def test_issue10_2_tests_that_failed_on_another_host_are_not_forgotten(
    tested_machines: tuple[Machine, Machine], served: Registry
):
    """Deleting the attachment of the failed run made an older, passed run count."""
    one, two = tested_machines
    made = one.use().release(1)
    by = NamedSigner("ci", one._signer)
    _keep(one.shop, made, by=by)
    one.promote("test", made.id)
    assert two.use().why("staging")["tests"].verdict == PASS
    _keep(two.shop, made, by=by, level2="failed")
    assert one.use().why("staging", made)["tests"].verdict == FAIL
    _without_attachments(one, served)
    assert one.use().why("staging", made)["tests"].verdict == FAIL
    with pytest.raises(Denied, match="the tests failed"):
        one.promote("staging", made.id)
    assert len([entry for entry in one.shop.entries() if entry.kind == TESTED]) == 2, "it is entered once"
    assert EvidenceRecorder(one.shop.opened, made, ()).list_proven() == {"level=1", "level=2"}, "of its own runs only"
    _keep(one.shop, made, by=by)
    assert one.promote("staging", made.id).changed, "a later run that passes counts"


def test_issue10_2_a_revocation_is_not_forgotten_where_the_release_has_no_document(
    machines: tuple[Machine, Machine], served: Registry
):
    """It counted while it was attached, and was recorded only if the image had the release's document."""
    one, _ = machines
    made = one.use().release(1)
    paths = one.shop.opened.paths
    said = {"release": made.id, "reason": "bad", "issued": "2026-12-01T00:00:00Z"}
    verify.attach_statement(made.image, statements.REVOCATION, said, one._signer, name="shop", paths=paths)
    assert one.shop.why("test", made)["revocation"].verdict == FAIL
    _without_attachments(one, served)
    assert one.shop.why("test", made)["revocation"].verdict == FAIL


def test_issue10_1_a_revocation_whose_command_was_killed_reaches_other_hosts(
    machines: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
):
    """It was attached to the image on one host, which denied the release from then on. The other host promoted it."""
    one, two = machines
    made = _staged(one)
    opened = one.use().opened
    append = Ledger.append

    def killed(self: Ledger, kind: str, **facts: Any) -> Any:
        if kind == REVOKED:
            raise _Killed
        return append(self, kind, **facts)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", killed)
        with pytest.raises(_Killed):
            words.revoke(opened, prepare(opened), made.id, _unseen, reason="bad", key="ci", ask=None)
    for _ in range(2):  # the second one publishes what the first one found
        with pytest.raises(Denied, match="revoked"):
            one.promote("production", made.id)
    with pytest.raises(Denied, match="revoked"):
        two.promote("production", made.id)


def test_issue10_1_a_revocation_reaches_the_repositories_that_answer(machines: tuple[Machine, Machine]):
    """One registry was down, and the others did not receive the revocation."""
    one, two = machines
    made = _staged(one)
    text = Path(one.use().root, "devbox.toml").read_text()
    host = text.partition('repository = "')[2].partition("/")[0]
    one.shop.rewrite(text.replace(f'[stage.test]\nrepository = "{host}', '[stage.test]\nrepository = "127.0.0.1:9'))
    opened, notes = one.shop.opened, []
    words.revoke(opened, prepare(opened), made.id, notes.append, reason="bad", key="ci", ask=None)
    assert any("cannot publish the revocation" in note.text for note in notes)
    with pytest.raises(Denied, match="revoked"):
        two.promote("production", made.id)


def test_issue10_2_an_entry_that_was_read_once_cannot_be_cut_off(tmp_path: Path, home: Path):
    """A killed command had written it, not yet the head. What a user saw in `release log` stays."""
    signed = Signed(tmp_path, APPROVED)
    made, opened = signed.built(), signed.shop.opened
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Anchors, "write", _kill)
        with pytest.raises(_Killed):
            words.revoke(opened, prepare(opened), made.id, _unseen, reason="bad", key="ci", ask=None)
    assert verbs.read_log(signed.shop.opened)[-1].kind == REVOKED
    with sqlite3.connect(f"{opened.paths.ledger(opened.id)}/ledger.db") as database:
        database.execute("DELETE FROM entry WHERE kind = 'revoked'")
    database.close()
    with pytest.raises(LedgerDamaged):
        verbs.read_log(signed.shop.opened)


def test_issue10_3_a_release_that_is_revoked_on_its_way_does_not_arrive(tmp_path: Path, home: Path):
    """A gray release may take hours. It got all traffic, and only the next promotion was denied."""
    signed = Signed(tmp_path, APPROVED)
    shop, good, made = signed.shop, signed.built(1), signed.built(2)
    signed.approve(good, "ann")
    signed.approve(made, "ann")
    signed.promote("staging", good)

    def revoke(where: str) -> None:
        if where == "deploying" and not shop.history().find_revocation(made.id):
            opened = shop.opened
            words.revoke(opened, prepare(opened), made.id, _unseen, reason="bad", key="ci", ask=None)

    shop.point = revoke
    with pytest.raises(Denied, match="revoked"):
        signed.promote("staging", made)
    assert shop.runs("staging") == good.id
    assert shop.history().find_current("staging").release == good.id
    assert shop.history().find_pending("staging") is None


@pytest.mark.parametrize(
    "facts", [{"created_at": 5}, {"created_at": "yesterday"}, {"source": 7}, {"config": None}], ids=str
)
def test_issue10_2_a_document_with_values_of_other_types_is_left_out(
    machines: tuple[Machine, Machine], facts: dict[str, Any]
):
    """A foreign attachment at a registry was stored, and each later command failed with an internal error."""
    one, two = machines
    made = _staged(one)
    opened = one.use().opened
    _attach_forged(made, facts, opened)
    copying.send(made.image, prepare(opened).stages.values(), _unseen, paths=opened.paths)
    shop = two.use()
    shop.why("production", made)
    assert two.releases() == [made]
    assert two.promote("production").deployment.release.id == made.id


def _attach_forged(made: Release, facts: dict[str, Any], opened: Any) -> None:
    config = facts.get("config", made.config)
    forged = replace(made, **facts) if config else replace(made, config=replace(made.config, processes={"web": None}))
    forged = replace(forged, source=facts.get("source", "git:other"))
    forged = replace(forged, id=forged.computed_id)
    oci = attachments.open_store(opened.paths)
    raw = ids.encode_canonical_json(codec.dump(forged))
    oci.write_raw(ids.compute_sha256(raw), raw)
    manifest = {
        "schemaVersion": 2,
        "mediaType": layout.MANIFEST,
        "artifactType": target.MEDIA_TYPE,
        "config": oci.write_json("application/vnd.oci.empty.v1+json", {}).to_json(),
        "layers": [Descriptor(target.MEDIA_TYPE, ids.compute_sha256(raw), len(raw)).to_json()],
        "subject": attachments.find_subject(made.image, oci).to_json(),
    }
    oci.add_unnamed(oci.write_json(layout.MANIFEST, manifest))


def _kill(*_words: object, **_named: object) -> None:
    raise _Killed


def _unseen(event: object) -> None:
    """Discard progress events."""
