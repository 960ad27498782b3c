"""Random operations on two hosts, two registries and three clones: in the end, all have the same records."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.registry import registry
from support.shop import APP, Shop

from devbox.attest import keys
from devbox.attest.keys import LocalSigner
from devbox.commands import approvals, gray_releases, preview, signing
from devbox.commands import promote as verbs
from devbox.commands.signing import NamedSigner
from devbox.commands.stage_chains import StageChains
from devbox.errors import Denied, UsageError
from devbox.model.ledger import APPROVED, DOWN, REVOKED, LedgerEntry
from devbox.model.release import Release
from devbox.project import prepare
from devbox.promotion.history import History, find_time
from devbox.records.keyring import KeyStore

STAGES = ("test", "staging", "production")
PEOPLE = '[builders]\nci = "keys/ci.pub"\n[approvers]\nann = "keys/ann.pub"\n'
_places = itertools.count()


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Two registries: the first has the repositories of two stages, the second that of the last one."""
    places = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    with registry(places[0], tls=False, password=False) as one, registry(places[1], tls=False, password=False) as two:
        yield one.host, two.host


class Clone:
    """A checkout on a host: its own ledger, its user's keys."""

    def __init__(self, machine: Path, name: str, text: str, people: dict[str, LocalSigner], use: Callable) -> None:
        self._machine, self._use, self._people = machine, use, people
        self.use()
        (machine / name).mkdir(parents=True)
        self.shop = Shop(machine / name, text)
        (Path(self.shop.root) / "keys").mkdir()
        store = KeyStore(self.shop.opened.paths)
        known = {key.name for key in store.list_keys()}
        for who, signer in people.items():
            (Path(self.shop.root) / f"keys/{who}.pub").write_text(signer.public.pem)
            if who not in known:
                store.add(who, signer, "")

    def use(self) -> Clone:
        """Make devbox run on this host from now on."""
        self._use(self._machine)
        return self

    def promote(self, stage: str, release: str = "") -> None:
        by = NamedSigner("ci", self._people["ci"])
        verbs.promote(
            self.shop.opened, _unseen, stage=stage, release=release, environments=self.shop._environments, by=by
        )

    def rollback(self, stage: str) -> None:
        by = NamedSigner("ci", self._people["ci"])
        verbs.rollback(self.shop.opened, _unseen, stage=stage, environments=self.shop._environments, by=by)

    def revoke(self, release: Release) -> None:
        opened = self.shop.opened
        signing.revoke(opened, prepare(opened), release.id, _unseen, reason="bad", key="ci", ask=None)

    def approve(self, stage: str) -> None:
        opened = self.shop.opened
        approvals.approve(opened, prepare(opened), stage, "", _unseen, key="ann", ask=None)

    def down(self, stage: str) -> None:
        self.shop.environment(stage).retire()
        gray_releases.record_down(self.shop.opened, stage, _unseen, ask=None)

    def learn(self) -> dict[str, str]:
        opened = self.use().shop.opened
        return StageChains(opened, prepare(opened), _unseen).learn()

    def known(self) -> dict[str, object]:
        """This clone's view of the stages: deployments in order, evidence, and revocations."""
        history = History(self.use().shop.ledger.read_entries())
        found: dict[str, object] = {}
        for stage in STAGES:
            found[stage] = [
                (entry.release, entry.body["operation"], history.find_replaced(entry), find_time(entry))
                for entry in history.list_arrivals(stage)
            ]
            stands = history.find_latest(stage)
            found[f"{stage} runs"] = stands.release if stands else ""
            for kind in (APPROVED, DOWN):
                found[f"{stage} {kind}"] = sorted(
                    (each.release, _at(each)) for each in history.list_entries(kind, stage=stage)
                )
        found[REVOKED] = sorted({entry.release for entry in history.list_entries(REVOKED)})
        return found


def _at(entry: LedgerEntry) -> str:
    return str(entry.body["at"]) if "seen" in entry.body else entry.at


@pytest.fixture
def clones(hosts: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Clone]]:
    """Three clones on two hosts; each call creates new ones with their own repositories."""
    monkeypatch.setenv("DEVBOX_INSECURE_REGISTRIES", ",".join(hosts))

    def use(machine: Path) -> None:
        for name, place in (("HOME", "home"), ("RUNTIME_DIR", "run"), ("CONFIG", "config")):
            monkeypatch.setenv(f"DEVBOX_{name}", str(machine / place))

    def make() -> list[Clone]:
        number = next(_places)
        people = {name: keys.generate(keys.ED25519) for name in ("ci", "ann")}
        at = dict(zip(STAGES, (hosts[0], hosts[0], hosts[1]), strict=True))
        text = APP + PEOPLE
        text += "".join(f'[stage.{stage}]\nrepository = "{host}/w{number}/{stage}"\n' for stage, host in at.items())
        places = [("one", "a"), ("one", "b"), ("two", "c")]
        return [Clone(tmp_path / str(number) / machine, name, text, people, use) for machine, name in places]

    return make


def _walk(made: list[Clone], seed: int, steps: int) -> list[str]:
    """Run random operations; denied ones have no effect. Returns the steps, for a failure message."""
    chance = random.Random(seed)
    done = []
    releases, *_ = [[clone.use().shop.release(number) for number in (1, 2, 3)] for clone in made]
    for _ in range(steps):
        clone, stage, release = chance.choice(made).use(), chance.choice(STAGES), chance.choice(releases)
        what = chance.choices(("promote", "named", "rollback", "revoke", "approve", "down"), (5, 4, 4, 1, 1, 1))[0]
        acts: dict[str, Callable[[], None]] = {
            "promote": lambda c=clone, s=stage: c.promote(s),
            "named": lambda c=clone, s=stage, r=release: c.promote(s, r.id),
            "rollback": lambda c=clone, s=stage: c.rollback(s),
            "revoke": lambda c=clone, r=release: c.revoke(r),
            "approve": lambda c=clone, s=stage: c.approve(s),
            "down": lambda c=clone, s=stage: c.down(s),
        }
        try:
            acts[what]()
            done.append(f"{made.index(clone)} {what} {stage} {release.short_id}")
        except (Denied, UsageError) as error:
            done.append(f"{made.index(clone)} {what} {stage} {release.short_id}: {error.sentence}")
    return done


def _check(made: list[Clone], done: list[str]) -> None:
    for clone in made:
        assert clone.learn() == {}, done
    first, *others = [clone.known() for clone in made]
    for other in others:
        assert other == first, "\n".join(done)


@pytest.mark.parametrize("seed", range(2))
def test_issue10_1_after_any_walk_all_hosts_know_the_same(clones: Callable[[], list[Clone]], seed: int):
    made = clones()
    _check(made, _walk(made, seed, 7))


@pytest.mark.long
@pytest.mark.parametrize("first", range(1000, 1200, 20))
def test_issue10_1_after_200_walks_all_hosts_know_the_same(clones: Callable[[], list[Clone]], first: int):
    for seed in range(first, first + 20):
        made = clones()
        _check(made, _walk(made, seed, 10))


def test_issue10_1_a_rollback_on_another_host_is_known_before_the_next_promotion(clones: Callable[[], list[Clone]]):
    """Host 2 saw "passed staging", and promoted what host 1 had rolled back from staging."""
    one, _, two = clones()
    two.use().shop.release(2)
    good, bad = (one.use().shop.release(number) for number in (1, 2))
    for made in (good, bad):
        one.promote("test", made.id)
        one.promote("staging", made.id)
    one.rollback("staging")
    told = two.use().shop.why("production", bad)["passed staging"]
    assert (told.verdict, "rolled back from staging" in told.reason) == ("fail", True)
    with pytest.raises(Denied, match="rolled back from staging"):
        two.promote("production", bad.id)


def test_issue10_1_what_could_not_be_learned_is_pending_and_reported(
    clones: Callable[[], list[Clone]], monkeypatch: pytest.MonkeyPatch
):
    one, _, two = clones()
    made = one.use().shop.release(1)
    one.promote("test", made.id)
    one.promote("staging", made.id)
    assert two.use().shop.why("production", made)["passed staging"].verdict == "pass"
    text = Path(two.shop.root, "devbox.toml").read_text()
    host = text.partition("[stage.staging]")[2].partition('"')[2].partition("/")[0]
    broken = text.replace(f'[stage.staging]\nrepository = "{host}', '[stage.staging]\nrepository = "127.0.0.1:9')
    two.shop.rewrite(broken)
    notes: list[object] = []
    told = {
        each.subject: each for each in preview.explain_stage(two.shop.opened, stage="production", sink=notes.append)
    }
    assert told["passed staging"].verdict == told["records staging"].verdict == "pending"
    assert "not all records of staging are known" in told["passed staging"].reason
    assert any("not all records of staging" in getattr(note, "text", "") for note in notes)
    with pytest.raises(Denied, match="not all records of staging are known"):
        two.promote("production", made.id)


def test_issue10_1_a_key_can_be_replaced(clones: Callable[[], list[Clone]]):
    """Records signed with the old key were no longer accepted, and each command on each host failed."""
    one, _, two = clones()
    for clone in (one, two):
        first, second = (clone.use().shop.release(number) for number in (1, 2))
    for stage in ("test", "staging"):
        one.use().promote(stage, first.id)
    two.use().promote("production", first.id)
    signer = keys.generate(keys.ED25519)
    for clone in (one, two):
        (Path(clone.shop.root) / "keys/ci.pub").write_text(signer.public.pem)
        clone._people["ci"] = signer
    assert "not signed by a key of the env file" in two.learn()["staging"]
    one.use().promote("test", second.id)  # what it published of other stages is signed again as well
    assert two.learn() == {}
    two.use().promote("production", first.id)
    one.use().promote("staging", second.id)
    two.use().promote("production", second.id)
    assert (one.learn(), two.learn()) == ({}, {})


def _unseen(event: object) -> None:
    """Discard progress events."""


def test_issue10_a_few_digits_name_a_release_that_another_host_promoted(clones: Callable[[], list[Clone]]):
    one, _, two = clones()
    made = one.use().shop.release(1)
    one.promote("test", made.id)
    one.promote("staging", made.id)
    two.use().promote("production", made.id.removeprefix("sha256:")[:6])
    assert two.shop.runs("production") == made.id


def test_issue10_a_release_is_found_where_the_stage_before_has_no_repository(clones: Callable[[], list[Clone]]):
    """It was not found at all; now it is pending, and the reason says what is missing."""
    one, _, two = clones()
    for clone in (one, two):
        lines = Path(clone.shop.root, "devbox.toml").read_text().splitlines()
        clone.use().shop.rewrite("\n".join(line for line in lines if "/staging" not in line) + "\n")
    made = one.use().shop.release(1)
    one.promote("test", made.id)
    one.promote("staging", made.id)
    with pytest.raises(Denied, match=r"\[stage.staging\] has no repository"):
        two.use().promote("production", made.id.removeprefix("sha256:")[:6])


def test_issue10_a_release_is_found_in_the_repository_of_another_stage(clones: Callable[[], list[Clone]]):
    """It was promoted before the stage before got a repository: that one does not have the image."""
    one, _, two = clones()
    made = one.use().shop.release(1)
    one.promote("test", made.id)
    one.promote("staging", made.id)
    text = Path(two.use().shop.root, "devbox.toml").read_text()
    two.shop.rewrite(text.replace('/staging"', '/later"'))
    with pytest.raises(Denied, match="has not been in staging"):
        two.promote("production", made.id)
    assert two.shop.why("production", made)["passed staging"].verdict == "pending"
