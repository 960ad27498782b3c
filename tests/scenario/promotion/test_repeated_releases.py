"""A release that another host rolled back from a stage: which events count as a new deployment, and which do not."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from scenario.promotion.test_first_reader import roll_back
from scenario.promotion.test_machines import Machine, _staged, _unseen, machines, served
from support.registry import Registry

from devbox.commands import gray_releases, promote, signing
from devbox.commands.stage_chains import StageChains
from devbox.errors import Denied
from devbox.execute.events import Event
from devbox.images.registry import errors
from devbox.model.plan import FAIL, PENDING
from devbox.model.release import Release
from devbox.project import prepare
from devbox.records import observations
from devbox.records.observations import StageHealthRecord

__all__ = ["machines", "served"]

SOAK = 'gates = [{ kind = "soak", stage = "staging", duration = "60s" }]\n'


def _rolled_back_elsewhere(machines: tuple[Machine, Machine]) -> Release:
    """Both hosts have staged the release; the second one has rolled it back."""
    for machine in machines:
        _staged(machine, 1)
        bad = _staged(machine, 2)
    roll_back(machines[1], "staging")
    return bad


def _restart(machine: Machine) -> None:
    """Stop `staging`, as a reboot would, and start it again."""
    shop = machine.use()
    shop.environment("staging").retire()
    gray_releases.record_down(shop.opened, "staging", _unseen, ask=None)


def test_issue10_1_a_stage_that_is_started_again_forgets_no_rollback(machines: tuple[Machine, Machine]):
    """Host 1 was rebooted: its running release was recorded as a new promotion, and went to production."""
    one, _ = machines
    bad = _rolled_back_elsewhere(machines)
    _restart(one)
    assert one.promote("staging", bad.id).changed
    for machine in machines:
        verdict = machine.use().why("production", bad)["passed staging"]
        assert (verdict.verdict, "rolled back" in verdict.reason) == (FAIL, True)
        with pytest.raises(Denied, match="rolled back from staging"):
            machine.promote("production", bad.id)
    assert one.shop.runs("staging") == bad.id


def test_issue10_1_a_restart_that_was_killed_is_a_restart_still(machines: tuple[Machine, Machine]):
    one, _ = machines
    bad = _rolled_back_elsewhere(machines)
    _restart(one)

    class Killed(BaseException):
        """Substitute for SIGKILL."""

    def point(where: str) -> None:
        if where == "deployed":
            raise Killed

    one.shop.point = point
    with pytest.raises(Killed):
        one.promote("staging", bad.id)
    one.shop.point = lambda _: None
    assert one.promote("staging", bad.id).changed
    assert one.shop.why("production", bad)["passed staging"].verdict == FAIL


def test_issue10_1_a_release_that_is_promoted_again_by_its_gates_has_come_again(machines: tuple[Machine, Machine]):
    one, two = machines
    bad = _rolled_back_elsewhere(machines)
    two.promote("staging", bad.id)
    assert one.use().why("production", bad)["passed staging"].verdict == "pass"


@pytest.mark.parametrize("meanwhile", ["nothing", "it learns of it"])
def test_issue10_1_a_promotion_that_began_before_a_rollback_does_not_come_after_it(
    machines: tuple[Machine, Machine], meanwhile: str
):
    """It was ordered after the rollback if another command on its host had learned of the rollback meanwhile."""
    one, two = machines
    _staged(one, 1)
    _staged(two, 1)
    bad = _staged(two, 2)
    assert one.use().release(2) == bad
    one.promote("test", bad.id)
    one.use()

    def point(where: str) -> None:
        if where == "deploying":
            one.shop.point = lambda _: None
            roll_back(two, "staging")
            opened = one.use().opened
            if meanwhile != "nothing":
                StageChains(opened, prepare(opened), _unseen).learn()

    one.shop.point = point
    one.promote("staging", bad.id)
    for machine in machines:
        assert machine.use().why("production", bad)["passed staging"].verdict == FAIL


def test_issue10_4_time_before_a_rollback_on_another_host_does_not_count_for_later_runs(
    machines: tuple[Machine, Machine], monkeypatch: pytest.MonkeyPatch
):
    """Host 1 promoted the release again with another config: its soak continued instead of restarting."""
    one, _ = machines
    text = Path(one.use().root, "devbox.toml").read_text()
    gated = text.replace("[stage.production]\n", f"[stage.production]\n{SOAK}")
    for machine in machines:
        machine.use().rewrite(gated)
    one.use()
    _staged(one, 1)
    bad = _staged(one, 2)
    opened = one.use().opened
    run = one.shop.history().find_local_run("staging", bad.id)
    clock = observations.time.clock_gettime
    with monkeypatch.context() as patch:
        for ahead in (0, 30, 60, 90):
            patch.setattr(observations.time, "clock_gettime", lambda kind, at=ahead: clock(kind) + at)
            StageHealthRecord(opened.paths, opened.id).record_health("staging", run.hash, healthy=True)
    assert one.shop.why("production", bad)["soak staging"].verdict == "pass"
    two = machines[1]
    _staged(two, 1)
    two.use().release(2)
    two.promote("test", bad.id)
    two.promote("staging", bad.id)
    roll_back(two, "staging")
    one.use().rewrite(gated.replace("[stage.staging]\n", '[stage.staging]\nenv = { LEVEL = "debug" }\n'))
    one.promote("staging", bad.id)
    assert one.shop.why("production", bad)["soak staging"].verdict == PENDING


def _revoke(machine: Machine, release: Release) -> None:
    """Run on a host that has learned of the rollback."""
    opened = machine.use().opened
    StageChains(opened, prepare(opened), _unseen).learn()
    signing.revoke(opened, prepare(opened), release.id, _unseen, reason="bad", key="ci", ask=None)


@pytest.mark.parametrize("when", ["deploying", "deployed"])
def test_issue10_1_a_release_revoked_by_another_host_during_its_promotion_is_not_deployed(
    machines: tuple[Machine, Machine], when: str
):
    """A gray release takes hours; at its end, only revocations by its own host were checked."""
    one, two = machines
    made = _staged(one)
    two.use().release(1)
    one.use()

    def point(where: str) -> None:
        if where == when:
            one.shop.point = lambda _: None
            _revoke(two, made)
            one.use()

    one.shop.point = point
    with pytest.raises(Denied, match="revoked"):
        one.promote("production", made.id)
    assert one.shop.runs("production") == ""
    assert one.shop.history().find_pending("production") is None


def test_issue10_1_a_rollback_does_not_go_back_to_what_another_host_revoked(machines: tuple[Machine, Machine]):
    """Its host learned of the revocation after the stage's rollback."""
    one, two = machines
    first = _staged(one, 1)
    _staged(one, 2)
    _staged(one, 3)
    two.use().release(2)
    second = one.use().release(2)
    _revoke(two, second)
    roll_back(one, "staging")
    assert one.shop.runs("staging") == first.id


def test_issue10_1_a_rollback_waits_for_no_silent_registry(
    machines: tuple[Machine, Machine], served: Registry, monkeypatch: pytest.MonkeyPatch
):
    one, _ = machines
    first = _staged(one, 1)
    _staged(one, 2)
    monkeypatch.setattr(promote, "_URGENT", 0.3)
    monkeypatch.setattr(errors, "ANSWER", 0.6)
    notes: list[Event] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(served.wire, "_target", lambda: silent.getsockname()[1])
        begun = time.monotonic()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(one.shop, "point", lambda where: deployed.append(time.monotonic() - begun))
            deployed: list[float] = []
            opened = one.use().opened
            promote.rollback(opened, notes.append, stage="staging", environments=one.shop._environments)
    assert one.shop.runs("staging") == first.id
    assert deployed[0] < 10
    assert any("not all records of staging are known: no response within 0.3 s" in note.text for note in notes)
