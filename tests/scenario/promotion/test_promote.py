"""Promotion by the ledger: admission, denial and its preview, failures, and rollback."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from support.shop import APP, Shop, begin, ended, in_a_child

from devbox.commands import promotion_records
from devbox.errors import Denied, DevboxError, EngineError, LedgerDamaged, NotTrusted, TargetLocked, UsageError
from devbox.model.ledger import APPLIED, COPIED, FAILED, INTENT, REVOKED, RUNNING
from devbox.model.plan import FAIL, PASS, PENDING

STAGES = ("test", "staging", "production")


def _kinds(shop, stage):
    return [entry.kind for entry in shop.entries(stage)]


def test_a_release_passes_through_the_stages_and_keeps_its_digest(shop):
    made = shop.release(1)
    for stage in STAGES:
        moved = shop.promote(stage, made)
        assert moved.changed
        assert shop.runs(stage) == made.id
        assert moved.entry.body["digest"] == made.image
    assert _kinds(shop, "staging") == [INTENT, COPIED, RUNNING, APPLIED]


def test_without_a_name_it_is_the_newest_then_what_the_stage_before_runs(shop):
    old, new = shop.release(1), shop.release(2)
    assert shop.promote("test").deployment.release == new
    shop.promote("test", old)
    assert shop.promote("staging").deployment.release == old


def test_promoting_what_runs_changes_nothing(shop):
    made = shop.release(1)
    shop.promote("test", made)
    again = shop.promote("test", made)
    assert not again.changed
    assert _kinds(shop, "test").count(INTENT) == 1
    assert shop.environment("test").log() == [made.id]


def test_promoting_what_should_run_and_does_not_is_a_repair_without_gates(shop):
    made = shop.release(1)
    shop.promote("test", made)
    shop.environment("test").retire()
    shop.rewrite(APP + '[stage.test]\ngates = [{ kind = "freeze", windows = ["Mon 00:00 - Mon 00:00"] }]\n')
    assert shop.promote("test", made).changed
    assert shop.runs("test") == made.id
    assert shop.entries("test")[-1].attempt == 2


def test_another_config_of_the_stage_is_another_deployment(shop):
    made = shop.release(1)
    shop.promote("test", made)
    shop.rewrite(APP + '[stage.test]\nenv = { LEVEL = "info" }\n')
    assert shop.promote("test", made).changed
    assert shop.rollback("test").deployment.stage.env == {}


def test_a_skipped_stage_is_foretold_and_denied(shop):
    made = shop.release(1)
    shop.promote("test", made)
    assert shop.why("production", made)["passed staging"].verdict == PENDING
    with pytest.raises(Denied, match="has not been in staging"):
        shop.promote("production", made)
    assert not shop.entries("production")
    assert not shop.environment("production").log()


TESTED = APP + '[test]\nfrom = "app"\ncommand = "true"\n[stage.staging]\ngates = [{ kind = "tests", expires = "1h" }]\n'
RAN = {
    "not at all": (None, 0.0, PENDING, "were not run"),
    "on another image": ({"unit": "passed"}, 0.0, PENDING, "were not run"),
    "red": ({"unit": "failed"}, 0.0, FAIL, "the tests failed"),
    "green, too long ago": ({"unit": "passed"}, 3601.0, PENDING, "expired"),
}


@pytest.mark.parametrize("how", RAN)
def test_without_green_tests_of_this_image_it_is_foretold_and_denied(shop, how):
    shop.rewrite(TESTED)
    made, other = shop.release(1), shop.release(2)
    shop.promote("test", made)
    cells, ago, verdict, reason = RAN[how]
    if cells is not None:
        shop.tested(other if how == "on another image" else made, cells, ago=ago)
    told = shop.why("staging", made)["tests"]
    assert (told.verdict, reason in told.reason) == (verdict, True)
    with pytest.raises(Denied, match=reason):
        shop.promote("staging", made)
    assert not shop.environment("staging").log()
    shop.tested(made, {"unit": "passed"})
    assert shop.promote("staging", made).changed


def test_issue10_3_tests_that_changed_since_are_no_evidence(shop):
    shop.rewrite(TESTED)
    made = shop.release(1)
    shop.promote("test", made)
    shop.tested(made, {"default": "passed"})
    assert shop.why("staging", made)["tests"].verdict == PASS
    Path(shop.root, "test_more.py").write_text("assert False")
    told = shop.why("staging", made)["tests"]
    assert (told.verdict, "the test files" in told.reason) == (PENDING, True)
    Path(shop.root, "test_more.py").unlink()
    shop.rewrite(TESTED.replace('command = "true"', 'command = "false"'))
    assert "the test settings" in shop.why("staging", made)["tests"].reason
    shop.rewrite(TESTED.replace("[stage.staging]", 'matrix = { level = ["1", "2"] }\n[stage.staging]'))
    shop.rewrite('vars = { level = "1" }\n' + Path(shop.root, "devbox.toml").read_text())
    assert "the matrix" in shop.why("staging", made)["tests"].reason


def test_a_revoked_release_is_foretold_and_denied_also_where_it_should_run(shop):
    made = shop.release(1)
    shop.promote("test", made)
    shop.ledger.append(REVOKED, release=made.id, body={"reason": "CVE-1"})
    assert shop.why("staging", made)["revocation"].verdict == FAIL
    for stage in ("staging", "test"):
        shop.environment("test").retire()
        with pytest.raises(Denied, match=r"revoked.*CVE-1"):
            shop.promote(stage, made)


def test_a_freeze_is_announced_with_its_end_and_admits_a_rollback(shop):
    one, two = shop.release(1), shop.release(2)
    shop.promote("test", one)
    shop.promote("test", two)
    frozen = '[stage.test]\ngates = [{ kind = "freeze", windows = ["2020-01-01 00:00 - 2099-01-01 00:00"] }]\n'
    shop.rewrite(APP + frozen)
    three = shop.release(3)
    verdict = shop.why("test", three)["freeze"]
    assert (verdict.verdict, verdict.opens_at) == (PENDING, "2099-01-01T00:00:00.000000Z")
    with pytest.raises(Denied, match="frozen"):
        shop.promote("test", three)
    assert shop.rollback("test").deployment.release == one
    assert shop.runs("test") == one.id


def test_a_gate_that_runs_on_the_host_requires_permission(shop):
    shop.rewrite(APP + '[stage.test]\ngates = [{ kind = "command", run = "true" }]\n')
    made = shop.release(1)
    assert [verdict.verdict for verdict in shop.why("test", made).values()] == [PENDING]
    with pytest.raises(NotTrusted, match=r"gate of \[stage.test\] runs"):
        shop.promote("test", made)


def test_a_rollback_asks_for_no_new_permission(shop):
    one, two = shop.release(1), shop.release(2)
    shop.promote("test", one)
    shop.promote("test", two)
    shop.rewrite(
        APP + '[stage.test]\nsecrets = { TOKEN = "cmd:echo x" }\ngates = [{ kind = "command", run = "false" }]\n'
    )
    with pytest.raises(NotTrusted):
        shop.promote("test", one)
    assert shop.rollback("test").deployment.release == one


def test_repeated_rollbacks_only_go_further_back(shop):
    one, two, three = (shop.release(number) for number in (1, 2, 3))
    for made in (one, two, three):
        shop.promote("test", made)
    assert shop.rollback("test").deployment.release == two
    assert shop.rollback("test").deployment.release == one
    with pytest.raises(UsageError, match="cannot roll back test"):
        shop.rollback("test")
    assert shop.runs("test") == one.id
    shop.promote("test", three)
    assert shop.rollback("test").deployment.release == one


def test_rollback_leaves_out_what_was_revoked(shop):
    one, two, three = (shop.release(number) for number in (1, 2, 3))
    for made in (one, two, three):
        shop.promote("test", made)
    shop.ledger.append(REVOKED, release=two.id, body={"reason": "bad"})
    assert shop.rollback("test").deployment.release == one


def test_what_was_rolled_back_does_not_go_on(shop):
    one, two = shop.release(1), shop.release(2)
    shop.promote("test", one)
    shop.promote("test", two)
    shop.rollback("test")
    with pytest.raises(Denied, match="rolled back from test"):
        shop.promote("staging", two)


def test_an_irreversible_release_is_not_rolled_back(shop):
    one, two = shop.release(1), shop.release(2)
    shop.promote("test", one)
    shop.rewrite(APP + "[stage.test]\nstrategy = { irreversible = true }\n")
    shop.promote("test", two)
    shop.rewrite(APP)  # what counts is what it was when it went in
    with pytest.raises(Denied, match="irreversible"):
        shop.rollback("test")
    assert shop.runs("test") == two.id


def test_a_release_that_does_not_become_ready_leaves_what_ran_before(shop):
    good, bad = shop.release(1), shop.release(2)
    shop.promote("test", good)
    shop.break_release(bad)
    with pytest.raises(EngineError, match="did not become ready"):
        shop.promote("test", bad)
    assert shop.runs("test") == good.id
    assert shop.entries("test")[-1].kind == FAILED
    with pytest.raises(Denied):
        shop.promote("staging", bad)
    with pytest.raises(EngineError):
        shop.promote("test", bad)
    assert shop.entries("test")[-1].attempt == 2


def test_a_first_release_that_does_not_become_ready_leaves_nothing(shop):
    bad = shop.release(1)
    shop.break_release(bad)
    with pytest.raises(EngineError):
        shop.promote("test", bad)
    assert shop.environment("test").observe().release == ""


def test_a_different_release_than_requested_is_not_a_success(shop):
    made = shop.release(1)
    shop.swap_images()
    with pytest.raises(EngineError, match="does not run the requested release"):
        shop.promote("test", made)
    assert _kinds(shop, "test") == [INTENT, COPIED, FAILED]


DAMAGES = {
    "UPDATE entry SET stage = 'staging' WHERE kind = 'applied'": "entry 4 was changed",
    "DELETE FROM entry WHERE seq = 2": "entry 2 is missing",
    "DELETE FROM entry WHERE seq > 2": "last entry is 2, expected 4",
    "": "unrecorded entries after entry 0",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_ledger_that_is_not_what_was_written_stops_everything(shop, damage):
    """A changed row, a missing one, rows cut off, an old head put back."""
    made = shop.release(1)
    directory = Path(shop.opened.paths.ledger(shop.opened.id))
    shop.promote("test", made)
    if damage:
        with contextlib.closing(sqlite3.connect(directory / "ledger.db", isolation_level=None)) as database:
            database.execute(damage)
    else:
        Path(f"{shop.opened.paths.host_state}/heads/{shop.opened.id}.json").unlink()
    verbs = (lambda: shop.promote("production", made), lambda: shop.why("production", made))
    for work in (*verbs, lambda: shop.rollback("test")):
        with pytest.raises(LedgerDamaged, match=DAMAGES[damage]):
            work()
    assert shop.environment("test").log() == [made.id]


def test_issue10_2_a_deleted_history_is_refused_and_recreated_from_signed_records_only(shop):
    """The release was rolled back from test; without the ledger, it is not promoted."""
    one, two = shop.release(1), shop.release(2)
    shop.promote("test", one)
    shop.promote("test", two)
    shop.rollback("test")
    shutil.rmtree(shop.opened.paths.ledger(shop.opened.id))
    with pytest.raises(LedgerDamaged) as caught:
        shop.promote("staging", two)
    assert "devbox release rebuild" in caught.value.remedy
    assert promotion_records.rebuild(shop.opened, lambda _: None).learned == 0
    assert {verdict.verdict for verdict in shop.why("staging", two).values()} == {PENDING}
    with pytest.raises(Denied, match="has not been in test"):
        shop.promote("staging", two)


def test_issue10_2_a_cache_of_the_file_without_gates_opens_none(shop):
    """The cache is below DEVBOX_HOME; any process can compute its hash of the file."""
    made = shop.release(1)
    shop.rewrite(APP + '[stage.test]\ngates = [{ kind = "tests" }]\n')
    with pytest.raises(Denied):
        shop.promote("test", made)
    (cache,) = Path(shop.opened.paths.project(shop.opened.id)).glob("resolved.json")
    plain = json.loads(cache.read_text())
    plain["resolved"]["stages"]["test"]["gates"] = []
    cache.write_text(json.dumps(plain))
    with pytest.raises(Denied, match="tests were not run"):
        shop.promote("test", made)


def test_requests_unanswered_meanwhile_are_recorded(shop):
    one, two = shop.release(1), shop.release(2)
    assert shop.promote("test", one).entry.body["lost_requests"] == 0, "there was no router before"
    shop.lose("test", 3)
    shop.point = lambda name: shop.lose("test", 2) if name == "deploying" else None
    assert shop.promote("test", two).entry.body["lost_requests"] == 2
    assert shop.entries("test")[-2].body["lost_requests"] == 2
    shop.point = lambda name: shop.lose("test", 1, router="another") if name == "deploying" else None
    assert shop.rollback("test").entry.body["lost_requests"] is None, "another router counted before"


def _kill_at(shop: Shop, point: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill this process at the n-th point where work could be left incomplete."""
    from devbox.host import files
    from devbox.records import ledger

    left = [count]

    def reach(name: str) -> None:
        if name == point:
            left[0] -= 1
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)

    append, write = ledger.Ledger.append, files.write_atomic

    def append_and_die(self, *words, **facts):
        reach("before")
        entry = append(self, *words, **facts)
        reach("after")
        return entry

    def write_and_die(path, *words, **facts):
        if "/heads/" in path:
            reach("between")  # the entry is written, its head is not
        write(path, *words, **facts)

    monkeypatch.setattr(ledger.Ledger, "append", append_and_die)
    monkeypatch.setattr(files, "write_atomic", write_and_die)
    shop.point = reach


# Each place where a move can be killed: around every entry, between an entry and its head, within the deployment.
KILLS = [
    *((point, count) for count in (1, 2, 3, 4) for point in ("before", "between", "after")),
    ("deploying", 1),
    ("deployed", 1),
]


def _killed(shop: Shop, work, point: str, count: int) -> None:
    def dying() -> None:
        with pytest.MonkeyPatch.context() as patch:
            _kill_at(shop, point, count, patch)
            work()

    assert in_a_child(dying) == -signal.SIGKILL


def _one_outcome(shop: Shop, release_id: str, others: int) -> None:
    """The stage runs it, the ledger says so in one entry more, and nothing is under way."""
    assert shop.runs("test") == release_id
    assert shop.history().find_current("test").release == release_id
    assert shop.history().find_pending("test") is None
    assert _kinds(shop, "test").count(APPLIED) == others + 1
    assert _kinds(shop, "test").count(FAILED) == 0


@pytest.mark.parametrize(("point", "count"), KILLS)
def test_a_promotion_killed_at_any_step_resumes(shop, point, count):
    old, new = shop.release(1), shop.release(2)
    shop.promote("test", old)
    _killed(shop, lambda: shop.promote("test", new), point, count)
    shop.promote("test")  # what is on its way is what is meant
    _one_outcome(shop, shop.history().find_current("test").release, others=1)
    assert shop.runs("test") == new.id


@pytest.mark.parametrize(("point", "count"), KILLS)
def test_a_rollback_killed_at_any_step_resumes(shop, point, count):
    one, two, three = (shop.release(number) for number in (1, 2, 3))
    for made in (one, two, three):
        shop.promote("test", made)
    _killed(shop, lambda: shop.rollback("test"), point, count)
    done = shop.history().find_pending("test") is None and shop.history().find_current("test").release == two.id
    if not done:  # else its last entry was written, and another rollback would go one further
        shop.rollback("test")
    _one_outcome(shop, two.id, others=3)


@pytest.mark.parametrize(("point", "count"), KILLS[:9] + KILLS[-2:])
def test_a_promotion_killed_anywhere_before_its_end_is_given_up_for_a_rollback(shop, point, count):
    old, new = shop.release(1), shop.release(2)
    shop.promote("test", old)
    _killed(shop, lambda: shop.promote("test", new), point, count)
    if shop.history().find_pending("test") is None:
        return  # nothing was begun: there is nothing to go back from
    shop.rollback("test")
    assert shop.runs("test") == old.id
    assert shop.history().find_current("test").release == old.id
    assert [entry.release for entry in shop.entries("test") if entry.kind == FAILED] == [new.id]
    with pytest.raises(UsageError):
        shop.rollback("test")


@pytest.mark.parametrize(("point", "count"), [("after", 1), ("deployed", 1), ("after", 3)])
def test_a_first_promotion_that_was_killed_is_given_up_for_nothing(shop, point, count):
    made = shop.release(1)
    _killed(shop, lambda: shop.promote("test", made), point, count)
    with pytest.raises(DevboxError, match="was ended, and nothing runs"):
        shop.rollback("test")
    assert shop.environment("test").observe().release == ""
    assert shop.history().find_pending("test") is None
    with pytest.raises(UsageError, match="cannot roll back test"):
        shop.rollback("test")
    assert shop.promote("test", made).entry.attempt == 2


@pytest.mark.parametrize(("point", "count"), KILLS[:9] + KILLS[-2:])
def test_a_promotion_killed_anywhere_before_its_end_is_given_up_for_another(shop, point, count):
    old, new, newer = (shop.release(number) for number in (1, 2, 3))
    shop.promote("test", old)
    _killed(shop, lambda: shop.promote("test", new), point, count)
    begun = shop.history().find_pending("test") is not None
    shop.promote("test", newer)
    assert shop.runs("test") == newer.id
    assert [entry.release for entry in shop.entries("test") if entry.kind == FAILED] == [new.id] * begun
    assert shop.rollback("test").deployment.release == old


def test_a_killed_promotion_that_may_not_resume_keeps_the_previous_release(shop):
    old, new = shop.release(1), shop.release(2)
    shop.promote("test", old)
    _killed(shop, lambda: shop.promote("test", new), "deployed", 1)
    assert shop.runs("test") == new.id
    shop.ledger.append(REVOKED, release=new.id, body={"reason": "bad"})
    with pytest.raises(Denied, match="revoked"):
        shop.promote("test")
    assert shop.runs("test") == old.id
    assert shop.history().find_pending("test") is None


def test_of_two_concurrent_promotions_one_fails_and_names_the_other(shop, tmp_path):
    one, two = shop.release(1), shop.release(2)
    go_on, inside = Path(tmp_path, "go-on"), Path(tmp_path, "inside")

    def slow(name: str) -> None:
        if name == "deploying":
            inside.touch()
            while not go_on.exists():
                time.sleep(0.01)

    def first() -> None:
        shop.point = slow
        shop.promote("test", one)

    child = begin(first)
    while not inside.exists():
        time.sleep(0.01)
    with pytest.raises(TargetLocked, match=r"test is locked by .*pid \d+.*promote"):
        shop.promote("test", two)
    assert "target test" in shop.why("test", two)
    go_on.touch()
    assert ended(child) == 0
    assert shop.runs("test") == one.id
    shop.promote("test", two)
    assert [entry.kind for entry in shop.entries("test")].count(APPLIED) == 2


def test_a_passed_stage_is_reported_as_passed(shop):
    made = shop.release(1)
    shop.promote("test", made)
    assert [verdict.verdict for verdict in shop.why("staging", made).values()] == [PASS]
