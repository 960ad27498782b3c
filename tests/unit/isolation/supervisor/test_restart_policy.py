"""Restart decisions and readiness: the pure parts of the supervisor."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from devbox.isolation.state import ContainerState
from devbox.isolation.supervisor import restart_policy, server


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (0, 0, ""),
        (3 << 8, 3, "exit code 3"),
        (126 << 8, 126, "not executable"),
        (127 << 8, 127, "not found"),
        (int(signal.SIGKILL), 137, "SIGKILL"),
        (143 << 8, 143, "SIGTERM"),
        (255 << 8, 255, "exit code 255"),
        (None, None, "unknown"),
    ],
)
def test_an_end_has_a_code_and_a_reason(status: int | None, code: int | None, words: str) -> None:
    assert restart_policy.decode_wait_status(status) == code
    assert words in restart_policy.describe_exit(code)
    assert bool(restart_policy.describe_exit(code)) == bool(words)


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        ("always", 0, True),
        ("on-failure", 0, False),
        ("on-failure", 1, True),
        ("on-failure", None, True),
        ("no", 1, False),
    ],
)
def test_restart_policies(policy: str, code: int | None, again: bool) -> None:  # noqa: FBT001
    assert restart_policy.needs_restart(policy, code) is again


def test_delays_double_up_to_a_limit_and_begin_again_after_a_stable_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(restart_policy.time, "monotonic", lambda: now[0])
    backoff = restart_policy.Backoff()
    backoff.mark_started()
    delays = [backoff.record_crash() for _ in range(12)]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == 30.0
    backoff.mark_started()
    now[0] += 11
    assert backoff.record_crash() == 0.1


def row(**facts: Any) -> ContainerState:
    plain = {"name": "a", "role": "service", "image": "", "digest": "", "image_key": "", "spec_key": ""}
    return ContainerState(**plain | {"state": "running", "health": "none"} | facts)


def verdict(of: ContainerState, **how: Any) -> str | None:
    known = {"kind": "service", "probed": False, "settled": True, "complaint": ""}
    return server.judge_readiness(of, **known | how)


@pytest.mark.parametrize(
    ("of", "how", "desired"),
    [
        (row(), {}, server.READY),
        (row(), {"settled": False}, server.UNKNOWN),
        (row(state="starting"), {}, server.UNKNOWN),
        (row(health="starting"), {"probed": True}, server.UNKNOWN),
        (row(health="healthy"), {"probed": True, "settled": False}, server.READY),
        (row(released=False), {"probed": True, "settled": False}, server.READY),
        (row(state="restarting", restarts=1, crashes=1, reason="x"), {}, server.UNKNOWN),
        (row(state="restarting", restarts=9, crashes=1, reason="x"), {}, server.UNKNOWN),
        (row(restarts=1, crashes=1), {}, server.UNKNOWN),
        (row(restarts=9, crashes=9), {}, server.UNKNOWN),
        (row(restarts=9), {}, server.READY),
        (row(state="stopping"), {}, server.UNKNOWN),
        (row(health="healthy", restarts=1, crashes=1), {"probed": True}, server.READY),
        (row(health="healthy", restarts=9, crashes=3), {"probed": True}, server.UNKNOWN),
        (row(state="exited", exit_code=0), {"kind": "job"}, server.READY),
        (row(), {"kind": "job"}, server.UNKNOWN),
    ],
)
def test_ready_or_to_be_waited_for(of: ContainerState, how: dict[str, Any], desired: str | None) -> None:
    assert verdict(of, **how) == desired


@pytest.mark.parametrize(
    ("of", "how", "words"),
    [
        (row(state="exited", exit_code=9, reason="exit code 9"), {"kind": "job"}, "failed: exit code 9"),
        (row(state="exited", exit_code=None, reason="nobody saw it"), {"kind": "job"}, "nobody saw it"),
        (row(state="dead", reason="no such file"), {}, "not running: no such file"),
        (row(state="exited"), {}, "exited"),
        (
            row(state="restarting", restarts=5, crashes=3, exit_code=1, reason="exit code 1"),
            {},
            "a keeps crashing: exit code 1, 5 restarts",
        ),
        (row(state="restarting", restarts=3, crashes=3, exit_code=0), {}, "keeps crashing: exit code 0"),
        (
            row(restarts=3, crashes=3, exit_code=137, reason="command exited: out of memory"),
            {},
            "out of memory (exit code 137), 3 restarts",
        ),
        (row(health="unhealthy"), {"probed": True, "complaint": "refused"}, "did not become ready: refused"),
    ],
)
def test_what_will_not_become_ready_says_why(of: ContainerState, how: dict[str, Any], words: str) -> None:
    assert words in (verdict(of, **how) or "")
