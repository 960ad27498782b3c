"""Gates on signatures: only the right key, for this release, this stage and this policy, in time."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from support import layouts
from support.histories import NOON, PARTS, context, release

from devbox.attest import attachments, keys, statements, verify
from devbox.attest.keys import LocalSigner
from devbox.attest.statements import Approval, Revocation
from devbox.images.store.manifest import get_architecture
from devbox.model.plan import FAIL, PASS, PENDING, Verdict
from devbox.model.release import Release
from devbox.model.stage import ApprovalGate, Gate, ProvenanceGate, SbomGate, SignatureGate, Stage
from devbox.promotion import approval_scope
from devbox.promotion.gates import evidence, table
from devbox.promotion.gates.context import GateContext, format_timestamp

STAGE = Stage(name="production", order=1)
CI, ANN, BOB, EVE = (keys.generate(keys.ED25519) for _ in range(4))
DAY = 24 * 3600.0
STATUS = b"Package: openssl\nStatus: install ok installed\nVersion: 3.0.11-1\nArchitecture: amd64\n"


class Case:
    """A project with a builder `ci` and the approvers `ann` and `bob`, and an image of a release in its store."""

    def __init__(self, root: Path) -> None:
        for name, signer in (("ci", CI), ("ann", ANN), ("bob", BOB)):
            (root / f"{name}.pub").write_text(signer.public.pem)
        made = context(str(root), of=release(1), stage=STAGE)
        self.paths = made.paths
        oci = attachments.open_store(self.paths)
        layer = layouts.layer(oci, {"var/lib/dpkg/status": STATUS, "etc/os-release": b"ID=debian\n"})
        image = layouts.index(oci, (layouts.manifest(oci, layer), get_architecture()))
        oci.set_ref("image-000000000000", image)
        self.release = dataclasses.replace(release(1), image=image.digest)
        self.context = dataclasses.replace(
            made,
            release=self.release,
            builders={"ci": "ci.pub"},
            approvers={"ann": "ann.pub", "bob": "bob.pub"},
        )

    def judge(self, gate: Gate, **facts: Any) -> Verdict:
        """The verdict, where nothing else is so than the facts say."""
        return table.judge(gate, dataclasses.replace(self.context, **facts))

    def sign(self, signer: LocalSigner) -> None:
        verify.sign_image(self.release.image, signer, name="shop", paths=self.paths)

    def say(self, type_: str, predicate: dict[str, Any], signer: LocalSigner) -> str:
        return verify.attach_statement(self.release.image, type_, predicate, signer, name="shop", paths=self.paths)

    def built(self, signer: LocalSigner, **facts: Any) -> str:
        """Attest as the builder that the release was built."""
        told = {
            "release": self.release.id,
            "config": "c",
            "source": self.release.source,
            "builder": "ci",
            "env_file": "devbox.toml",
            "started": "",
            "finished": "",
        } | facts
        return self.say(statements.PROVENANCE, statements.Provenance(**told).to_predicate(), signer)

    def approved(self, signer: LocalSigner, **facts: Any) -> str:
        """Approve the release for this stage now, for a day."""
        said = {
            "release": self.release.id,
            "stage": STAGE.name,
            "policy": self.context.policy,
            "approver": "ann",
            "issued": format_timestamp(NOON),
            "expires": format_timestamp(NOON + dt.timedelta(days=1)),
            "deployment": approval_scope.compute_digest(PARTS),
            "parts": PARTS,
        } | facts
        return self.say(statements.APPROVAL, vars(Approval(**said)), signer)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_an_unsigned_image_is_denied(case: Case):
    verdict = case.judge(SignatureGate())
    assert (verdict.verdict, verdict.reason) == (FAIL, "the image is not signed by ci")


def test_a_builder_s_signature_is_enough(case: Case):
    case.sign(CI)
    verdict = case.judge(SignatureGate())
    assert (verdict.verdict, verdict.reason) == (PASS, "signed by ci")
    assert verdict.evidence.startswith("sha256:")


def test_another_s_signature_is_not(case: Case):
    case.sign(EVE)
    case.sign(ANN)
    assert case.judge(SignatureGate()).verdict == FAIL
    assert case.judge(SignatureGate(keys=("ann",))).verdict == PASS


def test_without_keys_in_the_file_no_signature_counts(case: Case):
    case.sign(CI)
    assert case.judge(SignatureGate(), builders={}).verdict == FAIL


def test_a_missing_key_file_denies(case: Case, tmp_path: Path):
    case.sign(CI)
    (tmp_path / "ci.pub").unlink()
    verdict = case.judge(SignatureGate())
    assert verdict.verdict == FAIL
    assert "public key ci.pub" in verdict.reason


def test_provenance_is_of_this_release_by_its_builder(case: Case):
    assert case.judge(ProvenanceGate()).verdict == FAIL
    case.built(EVE)
    case.built(CI, release="sha256:another")
    case.built(CI, source="git:another")
    assert case.judge(ProvenanceGate()).verdict == FAIL
    evidence_of = case.built(CI)
    verdict = case.judge(ProvenanceGate(builders=("ci",)))
    assert (verdict.verdict, verdict.evidence) == (PASS, evidence_of)


def test_approvals_are_counted_by_person(case: Case):
    gate = ApprovalGate(count=2)
    assert case.judge(gate).verdict == PENDING
    case.approved(ANN)
    case.approved(ANN, comment="again")
    one = case.judge(gate)
    assert (one.verdict, one.reason) == (PENDING, "1 of 2 approved; waiting for bob: devbox approve production")
    case.approved(BOB)
    both = case.judge(gate)
    assert (both.verdict, both.reason) == (PASS, "approved by ann, bob")
    assert both.expires_at == format_timestamp(NOON + dt.timedelta(days=1))


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"release": "sha256:another"}, "another release"),
        ({"policy": "sha256:older"}, "another policy"),
        ({"expires": format_timestamp(NOON)}, "expired 2026"),
        (
            {
                "issued": format_timestamp(NOON + dt.timedelta(days=1)),
                "expires": format_timestamp(NOON + dt.timedelta(days=2)),
            },
            "future",
        ),
    ],
)
def test_an_approval_for_something_else_does_not_count(case: Case, facts: dict[str, str], why: str):
    case.approved(ANN, **facts)
    verdict = case.judge(ApprovalGate())
    assert verdict.verdict == PENDING
    assert why in verdict.reason


@pytest.mark.parametrize("facts", [{"stage": "staging"}, {"expires": "tomorrow"}, {"expires": "2099-01-01T00:00:00"}])
def test_an_approval_for_another_stage_or_time_does_not_count(case: Case, facts: dict[str, str]):
    case.approved(ANN, **facts)
    assert case.judge(ApprovalGate()).verdict == PENDING


def test_whose_key_it_is_decides_not_what_it_says(case: Case):
    case.approved(EVE, approver="ann")
    case.approved(CI, approver="ann")
    assert case.judge(ApprovalGate()).verdict == PENDING
    case.approved(BOB, approver="ann")
    assert case.judge(ApprovalGate(people=("ann",))).verdict == PENDING
    assert case.judge(ApprovalGate(people=("bob",))).reason == "approved by bob"


def test_the_gate_may_count_approvals_for_less_long(case: Case):
    case.approved(ANN)
    later = NOON + dt.timedelta(hours=2)
    assert case.judge(ApprovalGate(expires=3 * 3600.0), now=later).verdict == PASS
    assert case.judge(ApprovalGate(expires=3600.0), now=later).verdict == PENDING


def test_the_builder_cannot_approve(case: Case):
    case.built(ANN)
    case.approved(ANN)
    verdict = case.judge(ApprovalGate())
    assert (verdict.verdict, "the same key signed the build" in verdict.reason) == (PENDING, True)
    case.approved(BOB)
    assert case.judge(ApprovalGate()).verdict == PASS


def test_issue10_5_a_builder_can_t_approve_while_provenance_is_missing(case: Case):
    """Deleting the provenance from the image store must not make the builder an approver of its own build."""
    builders = {"ci": "ci.pub", "robot": "ann.pub"}
    case.approved(ANN)
    verdict = case.judge(ApprovalGate(), builders=builders)
    assert (verdict.verdict, "no signed provenance identifies the builder" in verdict.reason) == (PENDING, True)
    case.built(CI)
    assert case.judge(ApprovalGate(), builders=builders).verdict == PASS, "another builder's build"


def test_more_than_there_are_can_never_approve(case: Case):
    assert case.judge(ApprovalGate(count=3)).verdict == FAIL


def test_a_bill_is_of_the_layers_whatever_is_attached(case: Case):
    case.say(statements.SPDX, {"spdxVersion": "SPDX-2.3", "packages": []}, CI)
    verdict = case.judge(SbomGate(deny=("openssl",)))
    assert (verdict.verdict, verdict.reason) == (FAIL, "the image has openssl 3.0.11-1")
    assert case.judge(SbomGate(deny=("openssl@3.0.12-1", "zlib"))).verdict == PASS


def test_a_list_of_vulnerabilities_is_a_file_of_the_project(case: Case, tmp_path: Path):
    gate = SbomGate(vulnerabilities="cves.txt")
    assert case.judge(gate).verdict == FAIL
    (tmp_path / "cves.txt").write_text("CVE-2026-1 zlib\n")
    before = case.judge(gate)
    assert before.verdict == PASS
    (tmp_path / "cves.txt").write_text("CVE-2026-1 zlib\nCVE-2026-2 pkg:deb/debian/openssl@3.0.11-1\n")
    after = case.judge(gate)
    assert (after.verdict, after.reason) == (FAIL, "the image has openssl 3.0.11-1 (CVE-2026-2)")
    assert before.evidence != after.evidence
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert case.judge(SbomGate(vulnerabilities="link")).verdict == FAIL


def test_a_revocation_counts_if_an_authorized_key_signed_it(case: Case):
    said = Revocation(release=case.release.id, reason="leaks", issued=format_timestamp(NOON))
    case.say(statements.REVOCATION, vars(said), EVE)
    case.say(statements.REVOCATION, {**vars(said), "release": "sha256:another"}, ANN)
    assert _revoked(case.context) is None
    case.say(statements.REVOCATION, vars(said), ANN)
    assert _revoked(case.context) == said


def test_what_is_attached_to_another_image_says_nothing_about_this(case: Case):
    other = Case.__new__(Case)
    other.paths = case.paths
    other.release = _with_image(case)
    other.sign(CI)
    assert case.judge(SignatureGate()).verdict == FAIL


def _with_image(case: Case) -> Release:
    image = layouts.image(attachments.open_store(case.paths), size=100, seed=9)
    return dataclasses.replace(case.release, image=image.digest)


def _revoked(of: GateContext) -> Revocation | None:
    return evidence.find_revocation(of)


@pytest.mark.parametrize(
    ("gate", "facts"),
    [
        (ApprovalGate(expires=366 * DAY), {"issued": "9999-12-31T23:00:00Z"}),
        (ApprovalGate(), {"expires": "9999-12-31T23:00:00-02:00"}),
    ],
)
def test_issue10_5_an_approval_of_a_year_that_does_not_exist_counts_for_nothing(
    case: Case, gate: ApprovalGate, facts: dict[str, str]
):
    case.approved(ANN, **facts)
    assert case.judge(gate).verdict == PENDING
