"""Gray releases under load while every process is killed in turn, and the losses of each phase."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from subprocess import Popen

from gray.proof.losses import compare, seen
from gray.proof.shop import Shop, kill
from gray.proof.witness import Witness
from support.load import Load
from support.long import Long
from support.machine import Box, wait_until

from devbox.deploy.haproxy.cohort import LEASE
from devbox.gray.release import GrayRelease
from devbox.model.ledger import LedgerEntry
from devbox.model.stage import Counts

CONNECTIONS, FRESH = 16, 4
KILLED = -9
_LONG = 240.0


@dataclass(frozen=True)
class Row:
    """One phase: its requests, those without a 200 response, its duration, a remark."""

    name: str
    requests: int
    gets: int
    posts: int
    seconds: float
    note: str = ""

    @property
    def lost(self) -> int:
        return self.gets + self.posts


@dataclass
class Story:
    """The phases so far. `quota`: requests that each is given, at least."""

    shop: Shop
    load: Load
    long: Long
    witness: Witness
    quota: int
    rows: list[Row] = field(default_factory=list)

    def phase(self, name: str, act: Callable[[], str | None]) -> None:
        """Do it under load, and wait until it has had its requests."""
        requests, failed, begun = self.load.requests, len(self.load.failed), time.monotonic()
        note = act() or ""
        missing = self.quota - (self.load.requests - requests)
        if missing > 0:
            self.load.wait(missing, seconds=_LONG)
        lost = self.load.failed[failed:]
        gets = sum(text.startswith("GET") for text in lost)
        row = Row(name, self.load.requests - requests, gets, len(lost) - gets, time.monotonic() - begun, note)
        self.rows.append(row)
        print(
            f"{row.name:<34}{row.requests:>9}{row.gets:>6}{row.posts:>6}{row.seconds:>7.0f} s  {row.note}", flush=True
        )

    # What is done in a phase.

    def trial(self) -> GrayRelease:
        """The stored gray release."""
        found = self.shop.trials.read()
        assert found is not None
        return found

    def until_step(self, number: int, running: Popen[bytes]) -> None:
        """Wait until a running controller shifts traffic at this step or a later one."""

        def there() -> bool:
            trial = self.trial()
            shifted = not trial.is_over and trial.rollout.step >= number - 1 and self.witness.share() > 0
            return shifted or running.poll() is not None

        wait_until(there, seconds=_LONG, what=f"step {number}")
        assert running.poll() is None, f"ended with {running.returncode}: {self.trial().rollout.reason}"

    def promoted(self, stage: str) -> str:
        self.shop.ok("promote", stage)
        return self.trial().rollout.phase

    def aborted(self) -> str:
        self.shop.ok("release", "abort")
        assert self.trial().is_over
        assert self.witness.share() == 0
        return "all visitors on the old release"

    def killed_at_every_entry(self, *words: str) -> str:
        """The controller dies each time that the ledger has grown, and is started again; how often."""
        kills = 0
        while True:
            code = self._killed_at_the_next_entry(*words)
            kills += code == KILLED
            if code != KILLED:
                assert code == 0, f"{words} ended with {code} after {kills} kills"
                return f"{kills} kills, then {self.trial().rollout.phase}"

    def _killed_at_the_next_entry(self, *words: str) -> int:
        """Kill a command at its next ledger entry; return its exit status, which is another one if it had finished."""
        known, running = len(self.shop.entries()), self.shop.begin(*words)

        def further() -> bool:
            return running.poll() is not None or len(self.shop.entries()) > known

        try:
            wait_until(further, seconds=_LONG, what="an entry")
        finally:
            if running.poll() is None:
                kill(running.pid)
            code = running.wait()
        return code

    def orphaned(self) -> str:
        """The controller dies at step 3 and is not replaced: the weight falls back to that of step 2."""
        running = self.shop.begin("promote", "gray")
        try:
            self.until_step(3, running)
            policy = self.trial().policy
            wait_until(lambda: self.witness.share() == policy.steps[2], what="the share of step 3")
        finally:
            kill(running.pid)
            running.wait()
        died = time.monotonic()
        wait_until(lambda: self.witness.share() <= policy.steps[1], seconds=LEASE + 5, what="the fall of the share")
        fell = f"{policy.steps[2] / 100:g} % to {self.witness.share() / 100:g} %"
        return f"fell from {fell} after {time.monotonic() - died:.0f} s"

    def with_kill(self, release: str, victim: Callable[[], list[int]], *, step: int) -> str:
        """A promotion to gray with a process killed at a step; returns the outcome."""
        running = self.shop.begin("promote", "gray", release)
        try:
            self.until_step(step, running)
            for pid in victim():
                kill(pid)
            code = running.wait(timeout=_LONG)
        except BaseException:
            kill(running.pid)
            running.wait()
            raise
        trial = self.trial()
        assert (code == 0) == (trial.rollout.phase == "hold"), f"{code}, {trial.rollout}"
        return f"{trial.rollout.phase}: {trial.rollout.reason}" if code else trial.rollout.phase

    def router_dies(self, release: str) -> str:
        gone = len(self.witness.away)
        became = self.with_kill(release, self._router, step=2)
        away = self.witness.away[gone:]
        seconds = away[-1] - away[0] if away else 0.0
        return f"{became}; nobody answered for {seconds:.1f} s"

    def _router(self) -> list[int]:
        return [row["pid"] for row in self.shop.rows() if row["name"] == "router"]


def proof(box: Box, *, requests: int, long: int) -> list[Row]:
    """Run all phases with this many requests and connections of `long` seconds. Raises AssertionError."""
    shop = Shop.opened(box)
    before = shop.counts()
    with (
        Load(shop.address, connections=CONNECTIONS, fresh=FRESH) as load,
        Long(shop.address, seconds=long) as lasting,
        Witness(shop) as witness,
    ):
        story = Story(shop, load, lasting, witness, quota=requests // 12)
        print(f"{'':<34}{'requests':>9}{'GETs':>6}{'POSTs':>6}  lost of them", flush=True)
        _shifted(story)
        _killed(story)
        load.stop()
        lasting.stop()
        _check(story)
        _check_losses(story, shop.counts().subtract(before))
    return story.rows


def _shifted(story: Story) -> None:
    """Everyday events, which must not lose any request."""
    shop = story.shop
    shop.built("2")
    story.phase("ramp with a rehearsal", lambda: story.promoted("gray"))
    story.phase("abort", story.aborted)
    story.phase("ramp", lambda: story.promoted("gray"))
    story.phase("complete, bake, stable", lambda: story.promoted("production"))
    story.phase("rollback", lambda: shop.ok("rollback", "production") and "")
    story.phase("forward again", lambda: f"{story.promoted('gray')}, {story.promoted('production')}")


def _killed(story: Story) -> None:
    shop = story.shop
    third, second = shop.built("3"), shop.entries()[-1].release

    def pids(release: str, count: int | None = None) -> Callable[[], list[int]]:
        return lambda: [row["pid"] for row in shop.replicas(release)][:count]

    story.phase("all of the canary killed", lambda: story.with_kill(third, pids(third), step=2))
    _away(story)
    story.phase("one replica of stable killed", lambda: story.with_kill(third, pids(second, 1), step=2))
    _away(story)
    story.phase("the router killed", lambda: story.router_dies(third))
    _away(story)
    story.phase("the controller killed, nobody comes", story.orphaned)
    story.phase("the controller killed at each entry", lambda: story.killed_at_every_entry("promote", "gray"))
    story.phase("the same while it completes", lambda: story.killed_at_every_entry("promote", "production"))


def _away(story: Story) -> None:
    """Assert that no gray release is in progress."""
    if not story.trial().is_over:
        story.shop.ok("release", "abort")


def _check(story: Story) -> None:
    """Check after kills: the release is where it should be, no step ran twice, the weight was never higher."""
    shop, load = story.shop, story.load
    may_cost = {"all of the canary killed", "one replica of stable killed", "the router killed"}
    for row in story.rows:
        assert row.name in may_cost or not row.lost, f"{row.name}: {row.lost} lost; {load.failed[:5]}"
        assert row.name == "the router killed" or not row.gets, f"{row.name}: {row.gets} GETs lost; {load.failed[:5]}"
        assert row.name == "the router killed" or row.posts <= CONNECTIONS, f"{row.name}: {row.posts} POSTs lost"
    assert not story.witness.faults, story.witness.faults[:5]
    assert story.trial().rollout.phase == "stable"
    assert len(shop.releases()) == 1
    executed = shop.executed()
    twice = {name for name, times in executed.items() if times > 1}
    assert not twice, f"{len(twice)} POSTs executed twice: {sorted(twice)[:5]}"
    missing = [name for name in load.posted if name not in executed]
    assert not missing, f"{len(missing)} POSTs answered and not executed: {missing[:5]}"
    _check_ledger(shop.entries())


def _check_losses(story: Story, lost: Counts | None) -> None:
    """Check that clients lost what was counted, by cause; counts lost with a killed router are within their bound."""
    clients = seen(story.load, story.long)
    print(f"clients: {dict(clients)}; long: {dict(story.long.ended)}; counted: {lost}", flush=True)
    compare(clients, lost)


def _check_ledger(entries: tuple[LedgerEntry, ...]) -> None:
    """Assert that each step of the last gray release is recorded once and in order, despite killed controllers."""
    grays = [entry.body for entry in entries if entry.kind == "gray"]
    last = max(at for at, body in enumerate(grays) if (body["phase"], body["step"]) == ("step", 0))
    began = max(at for at in range(last + 1) if (grays[at]["phase"], grays[at]["step"]) == ("step", 0))
    told = [(body["phase"], body["step"]) for body in grays[began:]]
    assert [phase for phase, _ in told][-3:] == ["hold", "bake", "stable"], told
    assert len(told) == len(set(told)), told
