"""Chains of stages in registries: publishes this host's records after fetching those of others."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping

from devbox.attest import attachments, envelopes, stage_chain
from devbox.attest.keys import PublicKey, Signer
from devbox.attest.stage_chain import StageDocument, StageRecord
from devbox.errors import LedgerDamaged, RegistryError, SigningError
from devbox.execute.events import Note, Sink
from devbox.images.registry import artifacts, credentials, reference
from devbox.images.registry.connection import RegistryConnection
from devbox.images.registry.repository import RegistryRepository
from devbox.model.ledger import APPLIED
from devbox.model.spec import Spec
from devbox.model.stage import Stage
from devbox.project import Project
from devbox.promotion import stage_records
from devbox.promotion.history import History
from devbox.records import keyring
from devbox.records.ledger import Ledger
from devbox.records.observations import NEW, ConfirmedRecord, StageConfirmation, StageHealthRecord

_TAG = "devbox-stage."
_MOST = 100  # hosts per stage
_OBSERVED = 10  # recent runs whose observed time is published
_TRIES = 3  # another process of this host may publish concurrently


class StageChains:
    """Records of all stages of a project, local and in repositories."""

    def __init__(self, project: Project, spec: Spec, sink: Sink) -> None:
        self._project = project
        self._spec = spec
        self._sink = sink
        self._ledger = Ledger(project.paths, project.id)
        self._confirmed = ConfirmedRecord(project.paths, project.id)
        self._now = dt.datetime.now(dt.UTC)
        self.observed: dict[str, dict[str, float]] = {}  # stage → release → seconds observed healthy by another host
        self.due: list[Stage] = []  # stages whose published records are old
        self.found: dict[str, tuple[StageDocument, ...]] = {}  # stage → documents of other hosts

    def learn(self, *, accept: bool = False, only: str = "") -> dict[str, str]:
        """Add other hosts' records of all stages to the ledger. Return stages with incomplete records: name → why.

        `only`: a single stage; "" for all. `accept`: the user confirms that stages read for the first time are up to
        date. LedgerDamaged if a repository has records of this host that its ledger does not have.
        """
        keys = self._read_keyring().known_keys
        missing: dict[str, str] = {}
        for stage in self._spec.stages.values() if keys else ():
            if stage.repository and only in ("", stage.name):
                try:
                    problem = self._learn(stage, keys, accept=accept)
                except RegistryError as error:
                    problem = error.sentence
                if problem:
                    missing[stage.name] = f"not all records of {stage.name} are known: {problem}"
                    self._sink(Note(text=missing[stage.name]))
        return missing

    def publish(self, stages: Iterable[Stage], signer: Signer | None, *, confirm: bool = False) -> None:
        """Publish this host's signed records to the repositories of stages; refused ones are retried later.

        Without a key, nothing is published, which is noted if the file has keys. `confirm`: also for stages without own
        records.
        """
        for stage in stages:
            if stage.repository and (
                self._list_records(stage) or (confirm and self._read_confirmation(stage).confirmed)
            ):
                try:
                    self._publish(stage, signer)
                except RegistryError as error:
                    self._sink(Note(text=f"other hosts are not informed yet: {error.sentence}"))

    def _publish(self, stage: Stage, signer: Signer | None) -> None:
        if signer is None:
            if self._read_keyring().known_keys:
                text = f"other hosts are not informed: no authorized key for {stage.name} on this host"
                self._sink(Note(text=text))
            return
        for _ in range(_TRIES):
            records = self._list_records(stage)
            document = self._make_document(stage, records)
            raw = stage_chain.sign(document, signer, name=f"{self._spec.instance.name} {stage.name}")
            target = self._make_reference(stage, f"{_TAG}{stage.name}.{document.writer}")
            artifacts.push_artifact(raw, envelopes.BUNDLE_TYPE, target, oci=attachments.open_store(self._project.paths))
            if self._list_records(stage) == records:
                return

    def _make_document(self, stage: Stage, records: tuple[StageRecord, ...]) -> StageDocument:
        entries = self._ledger.read_entries()
        known = stage_records.list_known_records(entries, stage.name)
        return StageDocument(
            stage=stage.name,
            repository=_get_path(stage),
            writer=stage_records.name_writer(entries),
            records=records,
            knows={writer: number for writer, (number, _) in known.items()},
            observed=self._measure_observed(History(entries), stage.name),
            signed=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            confirmed=self._read_confirmation(stage).confirmed,
        )

    def _measure_observed(self, history: History, stage: str) -> dict[str, float]:
        watched = StageHealthRecord(self._project.paths, self._project.id)
        releases = dict.fromkeys(entry.release for entry in history.list_entries(APPLIED, stage=stage)[-_OBSERVED:])
        runs = {release: history.find_local_run(stage, release) for release in releases}
        return {
            release: round(watched.read_healthy_seconds(stage, run.hash), 1) for release, run in runs.items() if run
        }

    def _list_records(self, stage: Stage) -> tuple[StageRecord, ...]:
        return stage_records.list_own_records(self._ledger.read_entries(), stage.name)

    def _read_confirmation(self, stage: Stage) -> StageConfirmation:
        """Return this host's confirmation of a stage; records of an earlier version count as read."""
        found = self._confirmed.read().get(stage.name)
        has_read = bool(stage_records.list_known_records(self._ledger.read_entries(), stage.name))
        return found or (StageConfirmation(joined="") if has_read else StageConfirmation())

    def _learn(self, stage: Stage, keys: Mapping[str, PublicKey], *, accept: bool) -> str:
        """Add new records of one stage; return what is missing, or ""."""
        entries = self._ledger.read_entries()
        own, known = stage_records.name_writer(entries), stage_records.list_known_records(entries, stage.name)
        documents, problems = self._read(stage, keys, own=own)
        own = own or stage_records.name_writer(self._ledger.read_entries())  # another process may have created it
        own_document = documents.pop(own, None)
        if own_document is not None:
            self._check_own(own_document, stage)
        if self._is_due(own_document, stage):
            self.due.append(stage)
        reading, others = self._read_confirmation(stage), self.found.setdefault(stage.name, tuple(documents.values()))
        if not accept and (doubt := stage_records.find_doubt(reading, others, now=self._now)):
            return "; ".join((*problems, doubt))
        for writer, (number, hashed) in known.items():
            if writer not in documents or not _has_record(documents[writer], number, hashed):
                lost = f"missing records of {writer} in {stage.repository} that existed before"
                problems.append(f"{lost} (if its host is lost: devbox release rebuild)")
        for each in documents.values():
            problems += self._find_unknown(each, documents, own, stage)
        if reading.joined == NEW:  # until all records are added, even after a kill
            self._confirmed.write(stage.name, reading)
        self._enter(stage, documents, {writer: number for writer, (number, _) in known.items()})
        self._observe(stage, documents)
        after = stage_records.confirm_reading(reading, others, now=self._now, is_whole=not problems, accepted=accept)
        self._confirmed.write(stage.name, after)
        return "; ".join(problems)

    def _observe(self, stage: Stage, documents: Mapping[str, StageDocument]) -> None:
        """Store other hosts' observed health of releases, for runs without a later rollback."""
        history, found = History(self._ledger.read_entries()), self.observed.setdefault(stage.name, {})
        for writer, each in documents.items():
            for release, seconds in each.observed.items():
                if history.is_run_valid(stage.name, release, writer):
                    found[release] = max(float(seconds), found.get(release, 0.0))

    def _is_due(self, own_document: StageDocument | None, stage: Stage) -> bool:
        """True if this host's publication is old or incomplete: it was refused or devbox was killed.

        None: nothing was published.
        """
        records = self._list_records(stage)
        lacks = own_document is None or _get_last_number(own_document.records) < _get_last_number(records)
        return bool(records) and (lacks or stage_records.is_due(own_document, now=self._now))

    def _read(
        self, stage: Stage, keys: Mapping[str, PublicKey], *, own: str
    ) -> tuple[dict[str, StageDocument], list[str]]:
        """Return the valid documents about a stage by writer, and problems.

        An invalid document of this host (`own`) counts as missing, for example after a key replacement: the ledger has
        all of it, and the next publication signs it again.
        """
        named = reference.parse(stage.repository)
        repository = RegistryRepository(RegistryConnection(credentials.get_origin(named.host)), named)
        tags = repository.list_tags(f"{_TAG}{stage.name}.")
        found: dict[str, StageDocument] = {}
        problems = [f"too many chains in {stage.repository}: {len(tags)}"] if len(tags) > _MOST else []
        for tag in tags[:_MOST]:
            raw = artifacts.fetch_artifact(
                envelopes.BUNDLE_TYPE, self._make_reference(stage, tag), repository=repository
            )
            try:
                document = stage_chain.verify(raw or b"", keys, stage=stage.name, repository=_get_path(stage))
            except SigningError as error:
                if tag == f"{_TAG}{stage.name}.{own}":
                    self._sink(Note(text=f"{stage.repository}:{tag} will be signed again: {error.sentence}"))
                    continue
                problems.append(f"{stage.repository}:{tag}: {error.sentence}")
                continue
            if tag == f"{_TAG}{stage.name}.{document.writer}":
                found[document.writer] = document
            else:
                problems.append(f"{stage.repository}:{tag} contains the chain of {document.writer}")
        return found, problems

    def _check_own(self, published: StageDocument, stage: Stage) -> None:
        """Raise LedgerDamaged if a published record of this host is missing in its ledger."""
        have = {record.number: record.hash for record in self._list_records(stage)}
        for record in published.records[-1:]:
            if have.get(record.number) != record.hash:
                raise LedgerDamaged(
                    f"ledger entry {record.hash} not found, referenced by the head published at {stage.repository}",
                    remedy="restore a copy of the ledger, or rebuild it from signed records: devbox release rebuild",
                )

    def _find_unknown(
        self, document: StageDocument, documents: Mapping[str, StageDocument], own: str, stage: Stage
    ) -> Iterable[str]:
        """Yield missing records that a host has known of others."""
        counts = {writer: _get_last_number(each.records) for writer, each in documents.items()}
        counts[own] = _get_last_number(self._list_records(stage))
        for writer, number in document.knows.items():
            if counts.get(writer, 0) < number:
                yield f"{document.writer} knew {number} records of {writer}, but only {counts.get(writer, 0)} exist"

    def _enter(self, stage: Stage, documents: Mapping[str, StageDocument], known: Mapping[str, int]) -> None:
        """Add new records to the ledger, in order.

        A revocation is in the chain of every stage and is added for each, which completes the chain.
        """
        people = self._read_keyring()
        fresh = [
            (record.clock, record.at, writer, record)
            for writer, each in documents.items()
            for record in each.records
            if record.number > known.get(writer, 0)
        ]
        for _, _, writer, record in sorted(fresh, key=lambda each: each[:3]):
            by = people.get_name(documents[writer].by)
            entry = stage_records.build_entry(record, stage=stage.name, writer=writer, by=by)
            if entry is not None:
                self._ledger.append(entry.pop("kind"), **entry)

    def _read_keyring(self) -> keyring.Keyring:
        resolved = self._spec
        return keyring.read(self._project.root, builders=resolved.builders, approvers=resolved.approvers)

    def _make_reference(self, stage: Stage, tag: str) -> reference.Reference:
        return reference.parse(stage.repository)._replace(tag=tag, digest="")


def _get_path(stage: Stage) -> str:
    return reference.parse(stage.repository).repository


def _get_last_number(records: tuple[StageRecord, ...]) -> int:
    return records[-1].number if records else 0


def _has_record(document: StageDocument, number: int, hashed: str) -> bool:
    """True if a document contains this record, or starts after it."""
    found = {record.number: record.hash for record in document.records}
    return found.get(number) == hashed or (bool(found) and number < min(found))
