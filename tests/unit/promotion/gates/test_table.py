"""Verdicts of the gates: missing, failed or outdated evidence never passes."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from support import procfs
from support.histories import NOON, TESTS, chained, context, release, stages
from support.machine import wait_until

from devbox.errors import DevboxError
from devbox.host.process import BoundedRun
from devbox.model import codec, gate_kinds
from devbox.model.container import Secret
from devbox.model.host_access import SecretAccess
from devbox.model.ledger import APPLIED, TESTED, TestEvidence
from devbox.model.plan import FAIL, PASS, PENDING, Verdict
from devbox.model.stage import CommandGate, FreezeGate, SoakGate, Stage, TestsGate
from devbox.promotion.gates import command, table, tests
from devbox.promotion.gates.context import SoakObservation, format_timestamp

ONE, OTHER = release(1), release(2)
STAGE = Stage(name="production", order=1)


def _judge(root, gate, **facts):
    return table.judge(gate, context(str(root), of=ONE, stage=STAGE, **facts))


def _later(seconds):
    return NOON + dt.timedelta(seconds=seconds)


def _applied(of, at, stage="staging"):
    return {"kind": APPLIED, "stage": stage, "release": of.id, "at": format_timestamp(_later(at))}


def _evidence(**facts):
    known = {
        "digest": ONE.image,
        "passed": True,
        "at": format_timestamp(NOON),
        "cells": {"a": "passed"},
        "tests": TESTS,
    }
    return TestEvidence(**{**known, **facts})


def _ran(*runs):
    """The ledger's entries about runs of tests."""
    return chained(*({"kind": TESTED, "body": {"run": codec.dump(run)}} for run in runs))


SOAK = SoakGate(stage="staging", duration=600.0)


def _seen(seconds, *, healthy=True):
    """Observations of staging with ONE by the drift monitor."""
    found = {("staging", ONE.id): SoakObservation(seconds=seconds, healthy=healthy)}
    return lambda stage, of: found.get((stage, of), SoakObservation())


def test_soak_is_pending_until_the_stage_was_seen_healthy_for_long_enough(tmp_path):
    entries = chained(_applied(ONE, 0))
    early = _judge(tmp_path, SOAK, entries=entries, observed=_seen(599))
    assert (early.verdict, early.opens_at) == (PENDING, format_timestamp(_later(1)))
    late = _judge(tmp_path, SOAK, entries=entries, observed=_seen(600))
    assert (late.verdict, late.evidence) == (PASS, entries[0].hash)


def test_soak_of_a_release_that_was_never_there_is_pending_without_a_time(tmp_path):
    verdict = _judge(tmp_path, SOAK, entries=chained(_applied(OTHER, 0)), observed=_seen(9000))
    assert (verdict.verdict, verdict.opens_at) == (PENDING, None)


@pytest.mark.parametrize("seconds", [0, 599])
def test_issue10_4_time_not_observed_as_healthy_does_not_count_as_soak(tmp_path, seconds):
    """The release is in staging for three days by the clock on the wall."""
    entries = chained(_applied(ONE, 0))
    verdict = _judge(tmp_path, SOAK, entries=entries, now=_later(3 * 24 * 3600), observed=_seen(seconds, healthy=False))
    assert (verdict.verdict, verdict.opens_at) == (PENDING, None)
    assert "not healthy now" in verdict.reason


def test_soak_ends_when_another_release_takes_the_place(tmp_path):
    entries = chained(_applied(ONE, 0), _applied(OTHER, 60))
    verdict = _judge(tmp_path, SOAK, entries=entries, now=_later(9000), observed=_seen(60))
    assert (verdict.verdict, verdict.opens_at) == (PENDING, None)
    assert "left staging after it was seen healthy for 1 min of 10 min" in verdict.reason
    enough = _judge(tmp_path, SOAK, entries=entries, now=_later(9000), observed=_seen(600))
    assert enough.verdict == PASS


def test_soak_that_expired_is_pending(tmp_path):
    gate = SoakGate(stage="staging", duration=60.0, expires=60.0)
    entries = chained(_applied(ONE, 0))
    assert _judge(tmp_path, gate, entries=entries, now=_later(100), observed=_seen(100)).verdict == PASS
    assert _judge(tmp_path, gate, entries=entries, now=_later(121), observed=_seen(121)).verdict == PENDING


def test_tests_are_pending_until_they_ran_against_this_image(tmp_path):
    assert _judge(tmp_path, TestsGate()).verdict == PENDING
    other = _evidence(digest=OTHER.image)
    assert _judge(tmp_path, TestsGate(), entries=_ran(other)).verdict == PENDING
    found = _evidence()
    verdict = _judge(tmp_path, TestsGate(), entries=_ran(other, found))
    assert (verdict.verdict, verdict.evidence) == (PASS, found.evidence)


def test_red_tests_fail_and_say_which(tmp_path):
    run = _evidence(passed=False, cells={"pg=15": "passed", "pg=17": "failed"})
    verdict = _judge(tmp_path, TestsGate(), entries=_ran(run))
    assert verdict.verdict == FAIL
    assert "pg=17" in verdict.reason


def test_stale_tests_are_pending(tmp_path):
    gate, entries = TestsGate(expires=3600.0), _ran(_evidence())
    assert _judge(tmp_path, gate, entries=entries, now=_later(3599)).expires_at == format_timestamp(_later(3600))
    assert _judge(tmp_path, gate, entries=entries, now=_later(3600)).verdict == PENDING


@pytest.mark.parametrize(
    ("part", "told"),
    [("matrix", "the matrix"), ("table", "the test settings"), ("files", "the test files")],
)
def test_issue10_3_a_run_of_other_tests_is_pending_and_says_what_changed(tmp_path, part, told):
    old = _evidence(tests=dataclasses.replace(TESTS, **{part: "sha256:old"}))
    verdict = _judge(tmp_path, TestsGate(), entries=_ran(old))
    assert verdict.verdict == PENDING
    assert f"the tests changed since they ran, 2026-11-25T12:00:00Z ({told})" in verdict.reason
    newer = _evidence(passed=False, at=format_timestamp(_later(-60)))  # of today's tests, though older
    assert _judge(tmp_path, TestsGate(), entries=_ran(newer, old)).verdict == FAIL


def test_issue10_3_a_file_below_the_home_is_not_evidence(tmp_path):
    """The file that opened the gate in earlier versions, written by hand."""
    place = tmp_path / "home/projects" / ("0" * 12) / "testresults"
    place.mkdir(parents=True)
    evidence = {"digest": ONE.image, "passed": True, "at": format_timestamp(NOON), "cells": {"a": "passed"}}
    (place / f"{ONE.image.removeprefix('sha256:')}.json").write_text(json.dumps({"format": 1, "evidence": evidence}))
    assert _judge(tmp_path, TestsGate()).verdict == PENDING


def test_issue10_3_a_run_from_the_future_does_not_count(tmp_path):
    run = _evidence(at=format_timestamp(_later(3 * 24 * 3600)))
    assert _judge(tmp_path, TestsGate(), entries=_ran(run)).verdict == PENDING


@pytest.mark.parametrize("at", [-3600, 3600], ids=["set back", "set forward"])
def test_issue10_3_of_two_runs_on_this_host_the_later_one_counts_whatever_its_clock_said(tmp_path, at):
    """The tests passed, the clock was set, and they failed: that run was taken for an earlier one, or for none."""
    passed, failed = _evidence(), _evidence(passed=False, at=format_timestamp(_later(at)), cells={"a": "failed"})
    assert _judge(tmp_path, TestsGate(), entries=_ran(passed, failed), now=_later(60)).verdict == FAIL
    again = _evidence(at=format_timestamp(_later(30)))
    assert _judge(tmp_path, TestsGate(), entries=_ran(passed, failed, again), now=_later(60)).verdict == PASS


def test_a_freeze_is_pending_until_it_opens(tmp_path):
    gate = FreezeGate(windows=("Wed 10:00 - Thu 08:00",), zone="Europe/Berlin")
    verdict = _judge(tmp_path, gate)
    assert (verdict.verdict, verdict.opens_at) == (PENDING, "2026-11-26T07:00:00.000000Z")
    assert _judge(tmp_path, gate, now=_later(24 * 3600)).verdict == PASS


def test_a_command_answers_by_its_exit_code_and_its_last_line(tmp_path):
    yes = _judge(tmp_path, CommandGate(run=("/bin/sh", "-c", "echo ready; exit 0")))
    no = _judge(tmp_path, CommandGate(run=("/bin/sh", "-c", "echo first; echo not yet >&2; exit 3")))
    assert (yes.verdict, no.verdict) == (PASS, FAIL)
    assert yes.evidence != no.evidence
    assert "3: not yet" in no.reason


def test_a_command_learns_what_is_asked_and_runs_in_the_project(tmp_path):
    ask = 'test "$DEVBOX_STAGE $DEVBOX_RELEASE $DEVBOX_DIGEST" = "$0" && test "$PWD" = "$1"'
    words = f"production {ONE.id} {ONE.image}"
    assert _judge(tmp_path, CommandGate(run=("/bin/sh", "-c", ask, words, str(tmp_path)))).verdict == PASS


def test_a_command_that_was_not_allowed_is_not_run(tmp_path):
    verdict = _judge(tmp_path, CommandGate(run=("/bin/sh", "-c", f"touch {tmp_path}/ran")), trusted=False)
    assert verdict.verdict == PENDING
    assert not (tmp_path / "ran").exists()


def test_a_command_that_there_is_not_fails(tmp_path):
    assert _judge(tmp_path, CommandGate(run=("./ok-to-go",))).verdict == FAIL


def test_issue10_6_a_gate_that_prints_without_end_costs_no_memory(tmp_path):
    script = f"""
import resource, sys
sys.path[:0] = {sys.path!r}
from support.histories import context, release
from devbox.model.host_access import SecretAccess
from devbox.model.stage import CommandGate, Stage
from devbox.promotion.gates import command
gate = CommandGate(run=("/bin/sh", "-c", "head -c 1000000000 /dev/zero; echo; echo last"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
said = command.judge(gate, context({str(tmp_path)!r}, of=release(1), stage=Stage(name="production", order=1)))
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(said.verdict, len(said.output.encode()), grown // 1024)
assert said.verdict == "pass" and said.reason == "yes: last"
assert len(said.output.encode()) <= 4096 and "954 MiB" in said.output.replace("953.7", "954")
assert grown < 32 * 1024
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_issue10_6_what_is_kept_is_cut_and_masked(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKEN", "hunter2-hunter2")
    (tmp_path / "password").write_text("correct horse\n")
    stage = dataclasses.replace(
        STAGE,
        secrets={"TOKEN": Secret(reference="env:TOKEN"), "OTHER": Secret(reference="file:password")},
        external={"db": {"URL": "cmd:echo postgres://shop:tiger@db"}},
    )
    allowed = (SecretAccess(container="", variable="", reference="cmd:echo postgres://shop:tiger@db", where=""),)
    asked = dataclasses.replace(context(str(tmp_path), of=ONE, stage=stage), allowed=allowed)
    noisy = 'p=$(cat password); for n in $(seq 60000); do echo "$n $TOKEN postgres://shop:tiger@db\n$p"; done; exit 1'
    for loops in ("60000", "10"):
        said = table.judge(CommandGate(run=("/bin/sh", "-c", noisy.replace("60000", loops))), asked)
        assert said.verdict == FAIL
        assert len(said.output.encode()) <= 4096
        for value in ("hunter2", "correct horse", "tiger"):
            assert value not in f"{said.output}{said.reason}"
        assert said.output.startswith("1 *** ***\n***\n2 ")
        assert f"\n{loops} *** ***\n***" in said.output
    assert "in total, cut here" not in said.output


@pytest.mark.parametrize("secret", [b"\xff\xfehunter2", "pässwörd".encode()], ids=["no text", "umlauts"])
def test_issue10_6_a_truncated_binary_secret_is_masked(secret):
    values = (secret.decode(errors="surrogateescape"),)
    assert (
        command.mask_output(BoundedRun(code=0, head=b"a " + secret, tail=b"", size=2 + len(secret)), values) == "a ***"
    )
    for at in range(len(secret)):
        run = BoundedRun(code=0, head=b"-" * 99 + secret[:at], tail=secret[at:] + b"-" * 99, size=1 << 30)
        kept = command.mask_output(run, values)
        assert not set(kept) - set("-\n… 1024.0 MiB in total, cut here"), kept


def test_issue10_6_a_secret_that_cannot_be_fetched_keeps_the_output_out_of_the_ledger(tmp_path):
    stage = dataclasses.replace(STAGE, secrets={"TOKEN": Secret(reference="cmd:exit 1")})
    allowed = (SecretAccess(container="", variable="", reference="cmd:exit 1", where=""),)
    asked = dataclasses.replace(context(str(tmp_path), of=ONE, stage=stage), allowed=allowed)
    said = table.judge(CommandGate(run=("echo", "who knows")), asked)
    assert (said.verdict, "who knows" in said.output) == (PASS, False)


def test_issue10_6_the_passphrase_of_a_key_is_masked(tmp_path, monkeypatch):
    """A command that printed its environment put it into a signed record, at a registry."""
    monkeypatch.setenv("DEVBOX_KEY_PASSPHRASE", "correct horse")
    said = _judge(tmp_path, CommandGate(run=("/bin/sh", "-c", "env")))
    assert "DEVBOX_KEY_PASSPHRASE=***" in said.output
    assert "correct horse" not in f"{said.output}{said.reason}"


@pytest.mark.parametrize("left", ["sleep 1000 & echo $!", "setsid sleep 1000 & echo $!", "(yes | cat) & echo $!"])
def test_issue10_6_what_a_gate_leaves_running_does_not_hang_it_and_ends_with_it(tmp_path, left):
    began = time.monotonic()
    said = _judge(tmp_path, CommandGate(run=("/bin/sh", "-c", f"{left}; exit 0")))
    assert said.verdict == PASS
    assert time.monotonic() - began < 5
    pid = next(int(line) for line in said.output.splitlines() if line.isdigit())
    if left.startswith("setsid"):  # it left the process group on purpose
        os.kill(pid, signal.SIGKILL)
    else:
        wait_until(lambda: not procfs.is_running(pid))


def test_issue10_6_a_gate_that_does_not_end_is_killed_and_fails(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "TIMEOUT", 0.5)
    said = _judge(tmp_path, CommandGate(run=("/bin/sh", "-c", "echo waiting; exec sleep 1000")))
    assert (said.verdict, "killed after" in said.reason, "waiting" in said.reason) == (FAIL, True, True)


def test_a_gate_that_fails_or_is_unknown_does_not_pass(tmp_path, monkeypatch):
    def err(gate, context):
        raise DevboxError("the registry is away", remedy="")

    monkeypatch.setattr(tests, "judge", err)
    assert _judge(tmp_path, TestsGate()) == Verdict(subject="tests", verdict=FAIL, reason="the registry is away")
    monkeypatch.delitem(gate_kinds.GATES, "tests")
    assert _judge(tmp_path, TestsGate()).verdict == FAIL


def test_all_gates_of_a_stage_are_judged_in_the_order_of_the_file(tmp_path):
    stage = stages(production=(TestsGate(), CommandGate(run=("true",))))["production"]
    asked = dataclasses.replace(context(str(tmp_path), of=ONE, stage=STAGE), stage=stage)
    assert [verdict.verdict for verdict in table.judge_all(asked)] == [PENDING, PASS]
