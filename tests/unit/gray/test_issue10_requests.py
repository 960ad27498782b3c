"""Requests about a gray release that come at the same time, and one whose controller ends before it looks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from unit.gray.test_shown import good

from devbox.errors import DevboxError
from devbox.execute.trials import Trials, Wish
from devbox.gray.decide import steered
from devbox.gray.trial import Trial
from devbox.host.paths import Paths
from devbox.verbs import trials as verbs

__all__ = ["good"]


@pytest.fixture
def trials(tmp_path: Path) -> Trials:
    return Trials(Paths(str(tmp_path / "home"), str(tmp_path / "run"), str(tmp_path / "config")), "shop")


@pytest.mark.parametrize("later", ["hold", "resume"])
def test_issue10_gray_an_abort_is_not_replaced_by_a_request_of_another_terminal(trials: Trials, later: str):
    """`resume` came within the same second: the abort was lost, and reported 180 s later as not done."""
    trials.ask(Wish(what="abort", by="ann", began=5.0))
    trials.ask(Wish(what=later, by="ben", began=5.0))
    assert trials.asked() == Wish(what="abort", by="ann", began=5.0)
    trials.ask(Wish(what="abort", by="ann", began=5.0))
    trials.ask(Wish(what=later, by="ben", began=6.0))
    assert trials.asked() == Wish(what=later, by="ben", began=6.0), "it is about the next release"


@dataclass
class Controlled:
    """An environment whose controller ends, without another look, when it was asked for so often."""

    trials: Trials
    looks: int
    home: str = "production"
    stages: tuple[str, ...] = ("gray",)
    seen: list[str] = field(default_factory=list)

    def is_busy(self, *_: object) -> bool:
        self.looks -= 1
        return self.looks >= 0

    def steer(self, wish: Wish) -> Trial:
        found = self.trials.read()
        assert found is not None
        after = replace(found, rollout=steered(found.rollout, wish.what))
        self.trials.write(after)
        return after


def _asked(environment: Controlled, monkeypatch: pytest.MonkeyPatch, what: str) -> Trial:
    project: Any = SimpleNamespace()
    monkeypatch.setattr(verbs, "_under_way", lambda *_: (environment, environment.trials.read()))
    monkeypatch.setattr(verbs, "_busy", environment.is_busy)
    monkeypatch.setattr(verbs, "_PATIENCE", dict.fromkeys(("hold", "resume", "abort"), 5.0))
    return verbs.say(project, lambda _: None, what=what)


def test_issue10_gray_a_request_whose_controller_ends_is_done_at_once(
    trials: Trials, good: Trial, monkeypatch: pytest.MonkeyPatch
):
    """It was waited for in vain, and was there for the controller of the next promotion."""
    trials.write(replace(good, rollout=replace(good.rollout, phase="step", held=False)))
    assert _asked(Controlled(trials, looks=2), monkeypatch, "hold").rollout.held
    assert trials.pending() is None


def test_issue10_gray_a_request_that_was_replaced_says_so(trials: Trials, good: Trial, monkeypatch: pytest.MonkeyPatch):
    trials.write(replace(good, rollout=replace(good.rollout, phase="step", held=False)))
    monkeypatch.setattr(verbs, "_REPLACED", 0.2)
    ask = Trials.ask

    def replaced(self: Trials, wish: Wish) -> None:
        ask(self, wish)
        ask(self, Wish(what="resume", by="ben", began=wish.began))

    monkeypatch.setattr(Trials, "ask", replaced)
    with pytest.raises(DevboxError, match="another request came at the same time, and it was not held"):
        _asked(Controlled(trials, looks=1000), monkeypatch, "hold")
