"""A promotion without a signature, an approval or an intact ledger is denied: `why` says so, and nothing changes."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from contract.registry.stores import new_store
from support.registry import registry
from support.shop import APP, Shop, in_a_child

from devbox.attest import attachments, keys, statements, verify
from devbox.attest import verify as attest
from devbox.attest.keys import LocalSigner
from devbox.cli import main
from devbox.commands import approvals, preview, signing
from devbox.commands import promote as verbs
from devbox.commands.approvals import list_covered_parts
from devbox.commands.promote import PromotionResult
from devbox.commands.signing import NamedSigner
from devbox.commands.trust import accept_grants
from devbox.envfile import host_access
from devbox.errors import Denied, LedgerDamaged, NotTrusted, SigningError, UsageError
from devbox.images.registry.reference import parse
from devbox.model.ledger import APPLIED, INTENT, LedgerEntry
from devbox.model.plan import FAIL, PASS, PENDING
from devbox.model.release import Release
from devbox.model.stage import Deployment
from devbox.project import prepare
from devbox.promotion import approval_scope
from devbox.records import keyring
from devbox.records.keyring import KeyStore
from devbox.records.ledger import Ledger
from devbox.records.trust import TrustRecord

KEYS = """
[builders]
ci = "keys/ci.pub"
[approvers]
ann = "keys/ann.pub"
bob = "keys/bob.pub"
"""
SIGNED = APP.replace('"test", "staging", "production"', '"test", "staging"') + KEYS
APPROVED = SIGNED + '[stage.staging]\ngates = [{ kind = "signature" }, { kind = "approval" }]\n'


class Signed:
    """A shop whose users have their keys on this host, and whose release is in `test`."""

    def __init__(self, place: Path, text: str = APPROVED) -> None:
        self.shop = Shop(place, text)
        root, store = Path(self.shop.root), KeyStore(self.shop.opened.paths)
        (root / "keys").mkdir()
        self.people: dict[str, LocalSigner] = {}
        for name in ("ci", "ann", "bob", "eve"):
            self.people[name] = keys.generate(keys.ED25519)
            store.add(name, self.people[name], "")
            (root / f"keys/{name}.pub").write_text(self.people[name].public.pem)

    def built(self, number: int = 1, *, by: str = "ci") -> Release:
        """A built and signed release that has passed the first stage."""
        made = self.shop.release(number)
        opened = self.shop.opened
        named = NamedSigner(by, self.people[by])
        signing.sign_built(opened, prepare(opened), made, named, started=dt.datetime.now(dt.UTC))
        self.shop.promote("test", made)
        return made

    def approve(self, release: Release, key: str, **how: float) -> None:
        opened = self.shop.opened
        approvals.approve(opened, prepare(opened), "staging", release.id, _unseen, key=key, ask=None, **how)

    def promote(self, stage: str, release: Release, *, by: str = "ci") -> PromotionResult:
        """Promote it, and sign the record."""
        return verbs.promote(
            self.shop.opened,
            _unseen,
            stage=stage,
            release=release.id,
            environments=self.shop._environments,
            by=NamedSigner(by, self.people[by]),
        )

    def denied(self, release: Release, gate: str, verdict: str) -> str:
        """That it is foretold and denied, and nothing ran; the reason."""
        told = self.shop.why("staging", release)[gate]
        assert told.verdict == verdict
        with pytest.raises(Denied) as refusal:
            self.shop.promote("staging", release)
        assert told.reason in refusal.value.details
        assert not self.shop.environment("staging").log()
        return told.reason


@pytest.fixture
def signed(tmp_path: Path, home: Path) -> Signed:
    return Signed(tmp_path)


def test_a_signed_and_approved_release_gets_in(signed: Signed):
    made = signed.built()
    signed.approve(made, "ann")
    assert signed.promote("staging", made).changed
    assert signed.shop.runs("staging") == made.id


def test_an_unsigned_image_does_not(signed: Signed):
    made = signed.shop.release(1)
    signed.shop.promote("test", made)
    signed.approve(made, "ann")
    assert "not signed by ci" in signed.denied(made, "signature", FAIL)


def test_an_author_does_not_approve_his_own(signed: Signed):
    made = signed.built(by="ann")
    with pytest.raises(SigningError, match="built this release"):
        signed.approve(made, "ann")
    signed.denied(made, "approval", PENDING)


def test_a_stranger_does_not_approve(signed: Signed):
    made = signed.built()
    with pytest.raises(UsageError, match="eve cannot approve for staging"):
        signed.approve(made, "eve")


def test_an_approval_of_another_release_does_not_count(signed: Signed):
    other, made = signed.built(1), signed.built(2)
    signed.approve(other, "ann")
    signed.denied(made, "approval", PENDING)


def test_an_approval_ends(signed: Signed):
    made = signed.built()
    signed.approve(made, "ann", seconds=-1.0)
    assert "expired" in signed.denied(made, "approval", PENDING)


def test_issue10_5_an_approval_of_a_gray_stage_covers_the_stage_that_it_leads_to(tmp_path: Path, home: Path):
    text = APPROVED + '[stage.staging.strategy]\nkind = "gray"\n[stage.production]\nreplicas = { web = 1 }\n'
    text = text.replace("[stage.staging]\n", '[stage.staging]\ninto = "production"\n')
    text = text.replace('"test", "staging"]', '"test", "staging", "production"]')
    signed = Signed(tmp_path, text)
    made = signed.built()
    signed.approve(made, "ann")
    assert signed.shop.why("staging", made)["approval"].verdict == PASS
    signed.shop.rewrite(text.replace("web = 1", "web = 9"))
    assert "replicas.web of production = 1, now 9" in signed.denied(made, "approval", PENDING)


@pytest.mark.parametrize("changed", ['{ kind = "approval", count = 2 }', '{ kind = "approval", expires = "9d" }'])
def test_an_approval_under_older_gates_does_not_count(signed: Signed, changed: str):
    made = signed.built()
    signed.approve(made, "ann")
    assert signed.shop.why("staging", made)["approval"].verdict == PASS
    signed.shop.rewrite(APPROVED.replace('{ kind = "approval" }', changed))
    assert "gates.2.approval" in signed.denied(made, "approval", PENDING)


def test_an_approval_by_a_key_that_was_replaced_does_not_count(signed: Signed):
    made = signed.built()
    signed.approve(made, "ann")
    signed.approve(made, "bob")
    Path(signed.shop.root, "keys/ann.pub").write_text(signed.people["eve"].public.pem)
    assert "approved with approver ann = " in signed.denied(made, "approval", PENDING)


STRATEGY = 'strategy = { kind = "gray", process = "web", steps = [10, 50], margin = 0.01 }\n'
CHANGES = {
    "replicas": ("replicas = { web = 2 }\n", "replicas = { web = 3 }\n", "approved with replicas.web = 2, now 3"),
    "env": ('env = { LEVEL = "a" }\n', 'env = { LEVEL = "b" }\n', "approved with another process.web.env.LEVEL"),
    "a new variable": ("", 'env = { LEVEL = "b" }\n', "approved without process.web.env.LEVEL"),
    "a secret": (
        'secrets = { TOKEN = "env:A" }\n',
        'secrets = { TOKEN = "env:B" }\n',
        "approved with another process.web.secrets.TOKEN",
    ),
    "kind": ("", 'strategy = { kind = "rolling" }\n', "approved with strategy.kind = recreate, now rolling"),
    "steps": (STRATEGY, STRATEGY.replace("10, 50", "50"), "approved with strategy.steps = 10, 50, now 50"),
    "margin": (STRATEGY, STRATEGY.replace("0.01", "0.09"), "approved with strategy.margin = 0.01, now 0.09"),
    "alpha": (STRATEGY, STRATEGY.replace(" }", ", alpha = 0.05 }"), "approved with strategy.alpha = 0.01, now 0.05"),
    "bake": (STRATEGY, STRATEGY.replace(" }", ', bake = "7m" }'), "now 420"),
    "publish": (
        'publish = ["8080:8000"]\n',
        'publish = ["8081:8000"]\n',
        "approved with publish.1.host = 8080, now 8081",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_issue10_5_an_approval_covers_the_deployment_and_why_names_what_changed(signed: Signed, what: str):
    before, after, reason = CHANGES[what]
    signed.shop.rewrite(APPROVED + before)
    made = signed.built()
    signed.approve(made, "ann")
    assert signed.shop.why("staging", made)["approval"].verdict == PASS
    signed.shop.rewrite(APPROVED + after)
    assert reason in signed.denied(made, "approval", PENDING)
    signed.shop.rewrite(APPROVED + before)
    assert signed.shop.why("staging", made)["approval"].verdict == PASS


def test_issue10_5_the_order_of_the_stages_is_covered(signed: Signed):
    made = signed.built()
    signed.approve(made, "ann")
    signed.shop.rewrite(APPROVED.replace('"test", "staging"', '"test", "staging", "production"'))
    assert "approved with order of stages = test, staging, now" in signed.denied(made, "approval", PENDING)


def test_issue10_5_an_approval_of_an_earlier_version_does_not_count(signed: Signed):
    made = signed.built()
    said = {"release": made.id, "stage": "staging", "policy": _policy(signed), "approver": "ann", "comment": ""}
    said |= {"issued": "2026-01-01T00:00:00Z", "expires": "2099-01-01T00:00:00Z"}
    paths = signed.shop.opened.paths
    attest.attach_statement(made.image, statements.APPROVAL, said, signed.people["ann"], name="shop", paths=paths)
    assert "without stating what was approved" in signed.denied(made, "approval", PENDING)


def test_issue10_5_without_a_name_it_is_what_promote_would_take(signed: Signed):
    made = signed.built(1)
    signed.shop.release(2)  # newer, and not in test
    opened, notes = signed.shop.opened, []
    done = approvals.approve(opened, prepare(opened), "staging", "", notes.append, key="ann", ask=None)
    assert done.release == made
    assert signed.shop.promote("staging").deployment.release == made
    assert done.differences == ("staging runs nothing on this host: everything is new",)
    assert [note.text for note in notes] == [f"release {made.short_id}: test runs it", *done.differences]


def test_issue10_5_approve_shows_how_it_differs_from_what_the_stage_runs(signed: Signed):
    one = signed.built(1)
    signed.approve(one, "ann")
    signed.promote("staging", one)
    two = signed.built(2)
    signed.shop.rewrite(APPROVED + 'replicas = { web = 3 }\nenv = { LEVEL = "b" }\n')
    opened = signed.shop.opened
    done = approvals.approve(opened, prepare(opened), "staging", "", _unseen, key="ann", ask=None)
    assert done.differences[0] == f"image: {one.image[:19]} → {two.image[:19]}"
    assert done.differences[1].startswith("process.web.env.LEVEL: — → sha256:")
    assert done.differences[2:] == ("replicas.web: 1 → 3",)


def test_issue10_approve_of_a_gray_stage_shows_how_production_changes(signed: Signed):
    """An approval covers the stage that shifts the traffic, so its changes are shown as well."""
    text = SIGNED.replace('"test", "staging"', '"test", "gray", "production"').replace("[stage.staging]", "")
    text += '[stage.gray]\ninto = "production"\n[stage.gray.strategy]\nkind = "gray"\n[stage.production]\n'
    signed.shop.rewrite(text)
    one = signed.built(1)
    for stage in ("gray", "production"):
        signed.promote(stage, one)
    two = signed.built(2)
    signed.shop.rewrite(f"{text}replicas = {{ web = 3 }}\n")
    opened = signed.shop.opened
    done = approvals.approve(opened, prepare(opened), "gray", two.id, _unseen, key="ann", ask=None)
    assert done.differences == (f"image: {one.image[:19]} → {two.image[:19]}", "production: replicas.web: 1 → 3")


def test_issue10_why_names_the_release_and_its_state_in_the_stage(signed: Signed):
    made = signed.built()
    notes: list[Any] = []
    preview.explain_stage(signed.shop.opened, stage="test", release=made.id, sink=notes.append)
    preview.explain_stage(signed.shop.opened, stage="staging", sink=notes.append)
    said = [note.text for note in notes]
    assert said == [f"release {made.short_id}, which test runs", f"release {made.short_id}: test runs it"]
    signed.shop.ledger.append(INTENT, release=made.id, stage="staging", attempt=1, body={})
    preview.explain_stage(signed.shop.opened, stage="staging", sink=notes.append)
    assert "resume with: devbox promote staging" in notes[-1].text


def test_issue10_release_ls_marks_what_was_revoked(signed: Signed, capsys: pytest.CaptureFixture[str]):
    made, opened = signed.built(), signed.shop.opened
    assert main.run(["-C", signed.shop.root, "release", "ls"]) == 0
    assert "revoked" not in capsys.readouterr().out
    signing.revoke(opened, prepare(opened), made.id, _unseen, reason="bad", key="ci", ask=None)
    assert main.run(["-C", signed.shop.root, "release", "ls"]) == 0
    assert "revoked, test" in capsys.readouterr().out


def test_a_release_revoked_on_another_host_is_not_promoted(signed: Signed):
    """The revocation is attached to the image; the ledger of this host does not contain it."""
    made = signed.built()
    signed.approve(made, "ann")
    said = {"release": made.id, "reason": "leaks", "issued": "2026-01-01T00:00:00Z"}
    paths = signed.shop.opened.paths
    attest.attach_statement(made.image, statements.REVOCATION, said, signed.people["bob"], name="shop", paths=paths)
    assert signed.denied(made, "revocation", FAIL).endswith(": leaks")


def test_issue10_11_the_signed_record_has_lost_requests_by_cause(signed: Signed):
    made = signed.built()
    signed.approve(made, "ann")
    signed.shop.point = lambda name: signed.shop.lose("staging", 3) if name == "deploying" else None
    signed.promote("staging", made)
    (record,) = _predicates(signed, made, "staging")
    assert (record["lostRequests"], record["lostByCause"], record["lostUnknown"]) == (3, {"web": 3}, 0)


def test_every_move_has_one_signed_record(signed: Signed):
    made = signed.built()
    signed.approve(made, "ann")
    moved = signed.promote("staging", made)
    (record,) = _records(signed, made, "staging")
    assert record.evidence == moved.entry.body["record"]
    assert moved.entry.body["signed_by"] == "ci"
    said = record.statement.predicate
    assert (said["from"], said["to"], said["release"], said["attempt"]) == ("test", "staging", made.id, 1)
    assert [gate["verdict"] for gate in said["gates"]] == [PASS] * len(said["gates"])
    assert said["approvals"] == [gate["evidence"] for gate in said["gates"] if gate["subject"] == "approval"]
    before = next(entry for entry in signed.shop.entries() if entry.seq == moved.entry.seq - 1)
    assert said["previous"] == before.hash


def test_a_record_is_there_once_though_its_process_was_killed_after_it(signed: Signed):
    """Killed between the record and the entry that says it is done; the next command resumes the attempt."""
    made = signed.built()
    signed.approve(made, "ann")
    write = Ledger.append

    def killed(ledger: Ledger, kind: str, **how: Any) -> LedgerEntry:
        if kind == APPLIED:
            os.kill(os.getpid(), signal.SIGKILL)
        return write(ledger, kind, **how)

    def work() -> None:
        Ledger.append = killed
        signed.promote("staging", made)

    assert in_a_child(work) == -signal.SIGKILL
    (before,) = _records(signed, made, "staging")
    assert signed.promote("staging", made).entry.body["record"] == before.evidence
    assert [each.evidence for each in _records(signed, made, "staging")] == [before.evidence]


def _backup(signed: Signed, place: Path) -> Callable[[], None]:
    """Copy the ledger and the head that the host remembers; call the result to put them back."""
    paths = signed.shop.opened.paths
    kept = {Path(paths.ledger(signed.shop.opened.id)): place / "old", Path(paths.config): place / "old-config"}
    for source, copy in kept.items():
        shutil.copytree(source, copy)

    def put_back() -> None:
        for source, copy in kept.items():
            shutil.rmtree(source)
            shutil.copytree(copy, source)

    return put_back


def test_a_ledger_that_lost_what_a_record_names_is_found_out(signed: Signed, tmp_path: Path):
    """The whole host was restored from a backup: the database and the recorded head match."""
    made = signed.built()
    signed.approve(made, "ann")
    put_back = _backup(signed, tmp_path)
    signed.promote("staging", made)
    put_back()
    with pytest.raises(LedgerDamaged, match=r"ledger entry sha256:.* not found"):
        signed.shop.why("staging", made)
    with pytest.raises(LedgerDamaged, match=r"ledger entry sha256:.* not found"):
        signed.promote("staging", made)


@pytest.mark.long
def test_an_old_ledger_is_detected_by_the_published_head(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "registry").mkdir()
    with registry(tmp_path / "registry", tls=False, password=False) as served:
        monkeypatch.setenv("DEVBOX_INSECURE_REGISTRIES", served.host)
        signed = Signed(tmp_path, SIGNED + f'[stage.staging]\nrepository = "{served.host}/shop/staging"\n')
        first, second = signed.built(1), signed.built(2)
        signed.promote("staging", first)
        put_back = _backup(signed, tmp_path)
        signed.promote("staging", second)
        third = signed.built(3)
        put_back()
        with pytest.raises(LedgerDamaged, match="the head published at"):
            signed.promote("staging", third)


@pytest.mark.long
def test_an_approval_comes_from_another_host(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch):
    """Ann approves with her own store; her approval reaches the promoting host through the repository."""
    (tmp_path / "registry").mkdir()
    with registry(tmp_path / "registry", tls=False, password=False) as served:
        monkeypatch.setenv("DEVBOX_INSECURE_REGISTRIES", served.host)
        gates = '[stage.staging]\ngates = [{ kind = "approval" }]\n'
        signed = Signed(tmp_path, SIGNED + f'[stage.test]\nrepository = "{served.host}/shop/test"\n' + gates)
        made = signed.built()
        signed.denied(made, "approval", PENDING)
        ann = new_store(tmp_path / "ann")
        where = parse(f"{served.host}/shop/test@{made.image}")
        top = ann.pull(where, all_platforms=True)
        said = {
            "release": made.id,
            "stage": "staging",
            "policy": _policy(signed),
            "approver": "ann",
            "issued": "2026-01-01T00:00:00Z",
            "expires": "2099-01-01T00:00:00Z",
            "comment": "",
            "deployment": approval_scope.compute_digest(_parts(signed, made)),
            "parts": _parts(signed, made),
        }
        attest.attach_statement(
            made.image, statements.APPROVAL, said, signed.people["ann"], name="shop", paths=ann.paths
        )
        assert ann.transfers.push_attached(top, where, lambda _: None)
        assert signed.shop.why("staging", made)["approval"].verdict == PASS
        assert signed.promote("staging", made).changed


def test_issue10_2_a_file_that_ran_isolated_and_grants_more_is_not_promoted_without_the_record_below_the_home(
    shop: Shop,
):
    isolated = APP + '[dev]\nfrom = "app"\nisolation = "isolated"\n'
    shop.rewrite(isolated)
    made = shop.release(1)
    shop.promote("test", made)
    shop.rewrite(isolated.replace("isolated", "integrated"))
    os.unlink(shop.opened.paths.grants(shop.opened.id))
    with pytest.raises(NotTrusted, match="grants dev more"):
        shop.promote("staging", made)
    accept_grants(shop.opened, prepare(shop.opened))
    shop.promote("staging", made)


def _parts(signed: Signed, made: Release) -> dict[str, str]:
    opened = signed.shop.opened
    desired = prepare(opened)
    return list_covered_parts(opened, desired, Deployment(release=made, stage=desired.stages["staging"]))


def _policy(signed: Signed) -> str:
    desired = prepare(signed.shop.opened)
    stage = desired.stages["staging"]
    return keyring.compute_stage_policy(stage, signed.shop.root, builders=desired.builders, approvers=desired.approvers)


def _records(signed: Signed, release: Release, stage: str) -> list[verify.AttachmentFinding]:
    return [each for each, said in _promotions(signed, release) if said.predicate["to"] == stage]


def _predicates(signed: Signed, release: Release, stage: str) -> list[dict[str, Any]]:
    return [said.predicate for _, said in _promotions(signed, release) if said.predicate["to"] == stage]


def _promotions(signed: Signed, release: Release) -> list[tuple[verify.AttachmentFinding, statements.Statement]]:
    oci = attachments.open_store(signed.shop.opened.paths)
    known = {signer.public.fingerprint: signer.public for signer in signed.people.values()}
    return list(verify.list_signed(verify.list_findings(release.image, oci, known), statements.PROMOTION))


def _unseen(event: object) -> None:
    """Discard progress events."""


def test_issue10_6_the_record_of_a_gate_that_printed_no_text_can_be_read(tmp_path: Path, home: Path):
    """NUL is valid in JSON but not in text: no host could read the signed record of the promotion."""
    gate = r"""[stage.staging]
gates = [{ kind = "command", run = 'printf "a\000b\377\n\033[31mred"' }]
"""
    signed = Signed(tmp_path, SIGNED + gate)
    opened = signed.shop.opened
    TrustRecord(opened.paths, opened.id).allow((), stages=host_access.list_stage_access(prepare(opened)))
    made = signed.built()
    entry = signed.promote("staging", made).entry
    known = {signer.public.fingerprint: signer.public for signer in signed.people.values()}
    found = verify.list_findings(made.image, attachments.open_store(opened.paths), known)
    assert {each.verdict for each in found} == {"ok"}
    records = {each.evidence: said.predicate for each, said in verify.list_signed(found, statements.PROMOTION)}
    printed = [each["output"] for each in records[str(entry.body["record"])]["gates"] if each.get("output")]
    assert printed == ["a\ufffdb\ufffd\n\x1b[31mred"]
