"""A host that reads a stage for the first time detects old documents that an attacker has restored."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from dataclasses import replace

import pytest
from scenario.promotion.test_machines import Machine, _staged, _unseen, machines, served

from devbox.attest import attachments, envelopes, stage_chain
from devbox.attest.stage_chain import StageDocument
from devbox.commands import promote as verbs
from devbox.commands import promotion_records
from devbox.commands.promotion_records import RefreshResult
from devbox.commands.signing import NamedSigner
from devbox.errors import Denied
from devbox.images.registry import artifacts, credentials, reference
from devbox.images.registry.connection import RegistryConnection
from devbox.images.registry.repository import RegistryRepository
from devbox.model.ledger import SEEN
from devbox.model.plan import FAIL, PASS, PENDING
from devbox.project import prepare

__all__ = ["machines", "served"]


class Documents:
    """The content of a stage's repository, for an attacker with write access."""

    def __init__(self, machine: Machine, stage: str) -> None:
        self._machine, self._stage = machine, stage
        opened = machine.use().opened
        self._repository = prepare(opened).stages[stage].repository
        self._oci = attachments.open_store(opened.paths)

    def copy(self) -> dict[str, bytes]:
        """All documents, by their tags."""
        named = reference.parse(self._repository)
        repository = RegistryRepository(RegistryConnection(credentials.get_origin(named.host)), named)
        tags = repository.list_tags(f"devbox-stage.{self._stage}.")
        return {
            tag: artifacts.fetch_artifact(envelopes.BUNDLE_TYPE, self._at(tag), repository=repository) or b""
            for tag in tags
        }

    def put_back(self, documents: dict[str, bytes]) -> None:
        for tag, raw in documents.items():
            artifacts.push_artifact(raw, envelopes.BUNDLE_TYPE, self._at(tag), oci=self._oci)

    def read(self) -> dict[str, StageDocument]:
        """The documents by their writers."""
        return {found.writer: found for found in map(self._verified, self.copy().values())}

    def aged(self, days: float) -> dict[str, bytes]:
        """The documents as if signed and confirmed this many days earlier."""
        return {tag: self._signed_earlier(raw, dt.timedelta(days=days)) for tag, raw in self.copy().items()}

    def _signed_earlier(self, raw: bytes, ago: dt.timedelta) -> bytes:
        found = self._verified(raw)
        times = {name: getattr(found, name) for name in ("signed", "confirmed")}
        earlier = {name: text and (dt.datetime.fromisoformat(text) - ago).isoformat() for name, text in times.items()}
        return stage_chain.sign(replace(found, **earlier), self._machine._signer, name="shop")

    def _verified(self, raw: bytes) -> StageDocument:
        public = self._machine._signer.public
        path = reference.parse(self._repository).repository
        return stage_chain.verify(raw, {public.fingerprint: public}, stage=self._stage, repository=path)

    def _at(self, tag: str) -> reference.Reference:
        return reference.parse(self._repository)._replace(tag=tag, digest="")


def roll_back(machine: Machine, stage: str) -> None:
    shop, by = machine.use(), NamedSigner("ci", machine._signer)
    verbs.rollback(shop.opened, _unseen, stage=stage, environments=shop._environments, by=by)


def refresh(machine: Machine, *, accept: bool = False) -> RefreshResult:
    return promotion_records.refresh(machine.use().opened, _unseen, key="", ask=None, accept=accept)


def devbox(machine: Machine, *words: str) -> tuple[int, str, str]:
    """The command as a user has it: exit code, output, messages."""
    root = machine.use().root
    done = subprocess.run(
        [sys.executable, "-m", "devbox", *words], cwd=root, capture_output=True, check=False, text=True
    )
    return done.returncode, done.stdout, done.stderr


def test_issue10_1_a_first_reader_is_not_deceived_by_documents_that_were_put_back(machines):
    """Host 1 rolled back from staging. The documents of the week before say that the release passed it."""
    one, two = machines
    _staged(one, 1)
    bad = _staged(one, 2)
    documents = Documents(one, "staging")
    before = documents.aged(8)
    roll_back(one, "staging")
    documents.put_back(before)
    shop = two.use()
    told = shop.why("production", bad)
    assert told["records staging"].verdict == PENDING
    assert "reads them for the first time" in told["records staging"].reason
    with pytest.raises(Denied, match="reads them for the first time"):
        two.promote("production", bad.id)
    with pytest.raises(Denied, match="reads them for the first time"):
        two.promote("production", bad.id)
    assert not [entry for entry in shop.entries("staging") if entry.kind == SEEN], "nothing of it was entered"
    refresh(one)
    assert two.use().why("production", bad)["passed staging"].verdict == FAIL
    with pytest.raises(Denied, match="rolled back from staging"):
        two.promote("production", bad.id)


def test_a_host_that_knows_a_stage_needs_no_confirmation_after_a_long_pause(machines):
    one, two = machines
    made = _staged(one, 1)
    assert two.use().why("production", made)["passed staging"].verdict == PASS
    for stage in ("test", "staging"):
        documents = Documents(one, stage)
        documents.put_back(documents.aged(60))
    assert two.promote("production", made.id).changed
    assert one.promote("test", made.id).changed is False


def test_a_user_may_accept_a_chain_that_no_host_can_confirm(machines):
    one, two = machines
    made = _staged(one, 1)
    for stage in ("test", "staging"):
        documents = Documents(one, stage)
        documents.put_back(documents.aged(60))
    said = refresh(two)
    assert set(said.lacking) == {"test", "staging"}
    assert [(each.stage, each.number, each.release) for each in said.chains] == [
        ("test", 1, made.id),
        ("staging", 1, made.id),
    ]
    code, out, err = devbox(two, "release", "refresh")
    assert code == 1
    assert [line.split()[0] for line in out.splitlines()] == ["STAGE", "test", "staging"]
    assert "not confirmed: test, staging" in err
    code, _, err = devbox(two, "release", "refresh", "--accept")
    assert (code, "signed by ci" in err) == (0, True)
    assert refresh(two).lacking == {}
    assert two.promote("production", made.id).changed
    (found,) = [each for each in Documents(two, "staging").read().values() if not each.records]
    assert list(found.knows.values()) == [1], "it tells the next machine what it knows"


def test_a_promotion_confirms_this_host_s_records_whatever_its_outcome(machines):
    one, _ = machines
    made = _staged(one, 1)
    documents = Documents(one, "test")
    documents.put_back(documents.aged(2))
    two_days_ago = next(iter(documents.read().values())).signed
    another = one.use().release(2)
    with pytest.raises(Denied, match="has not been in staging"):
        one.promote("production", another.id)
    (found,) = documents.read().values()
    assert found.signed > two_days_ago
    assert found.confirmed > two_days_ago
    assert found.records[-1].release == made.id


def test_a_recreated_ledger_makes_the_host_a_new_one(machines):
    """Its memory is deleted, so it could be deceived."""
    one, two = machines
    made = _staged(one, 1)
    assert two.use().why("production", made)["passed staging"].verdict == PASS
    documents = Documents(one, "staging")
    documents.put_back(documents.aged(8))
    promotion_records.rebuild(two.use().opened, _unseen)
    assert two.use().why("production", made)["records staging"].verdict == PENDING
