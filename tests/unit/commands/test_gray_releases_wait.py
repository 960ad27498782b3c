"""A promotion that waits for a gray release reports what blocks it and which command ends the wait."""

from __future__ import annotations

from dataclasses import replace

from gray.rig import DEPLOYMENT, POLICY

from devbox.commands.gray_releases import describe_wait
from devbox.gray.release import GrayRelease
from devbox.gray.state import NEEDS_HUMAN, STEP, GrayState
from devbox.model.router import GREEN

STEPPING = GrayRelease(
    stage="gray",
    deployment=DEPLOYMENT,
    policy=POLICY,
    rollout=GrayState.begin(POLICY).enter(STEP, "healthy", step=0),
    side=GREEN,
    began=1.0,
)


def test_issue10_a_wait_for_a_progressing_release_names_status():
    said = describe_wait(STEPPING, stage="production")
    assert "devbox release status" in said
    assert "devbox release resume" not in said
    assert said.endswith("devbox promote production --supersede")


def test_issue10_a_wait_for_a_held_release_names_resume():
    held = replace(STEPPING, rollout=replace(STEPPING.rollout, held=True))
    assert "is on hold; resume with: devbox release resume" in describe_wait(held, stage="production")


def test_issue10_a_release_that_needs_a_decision_says_why():
    asks = replace(STEPPING, rollout=STEPPING.rollout.enter(NEEDS_HUMAN, "no data"))
    assert "requires a decision (no data); resume with: devbox release resume" in describe_wait(
        asks, stage="production"
    )


def test_issue10_the_release_that_waits_is_part_of_the_command_that_supersedes():
    said = describe_wait(STEPPING, stage="production", release="0123abcd")
    assert said.endswith("devbox promote production 0123abcd --supersede")
