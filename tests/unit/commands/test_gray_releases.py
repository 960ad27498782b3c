"""Concurrent requests about a gray release, and requests whose controller ends before it reads them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from unit.gray.test_summary import good

from devbox.commands import gray_releases as verbs
from devbox.deploy.records import GrayStore, OperatorRequest
from devbox.errors import DevboxError
from devbox.gray.decide import apply_request
from devbox.gray.release import GrayRelease
from devbox.host.paths import Paths

__all__ = ["good"]


@pytest.fixture
def gray_store(tmp_path: Path) -> GrayStore:
    return GrayStore(Paths(str(tmp_path / "home"), str(tmp_path / "run"), str(tmp_path / "config")), "shop")


@pytest.mark.parametrize("later", ["hold", "resume"])
def test_issue10_gray_an_abort_is_not_replaced_by_a_request_of_another_terminal(gray_store: GrayStore, later: str):
    """`resume` came within the same second: the abort was lost, and reported 180 s later as not done."""
    gray_store.request(OperatorRequest(what="abort", by="ann", began=5.0))
    gray_store.request(OperatorRequest(what=later, by="ben", began=5.0))
    assert gray_store.consume_request() == OperatorRequest(what="abort", by="ann", began=5.0)
    gray_store.request(OperatorRequest(what="abort", by="ann", began=5.0))
    gray_store.request(OperatorRequest(what=later, by="ben", began=6.0))
    assert gray_store.consume_request() == OperatorRequest(what=later, by="ben", began=6.0), (
        "it is about the next release"
    )


@dataclass
class Controlled:
    """A target whose controller ends, without another observation, after this many polls."""

    gray_store: GrayStore
    looks: int
    home: str = "production"
    stages: tuple[str, ...] = ("gray",)
    seen: list[str] = field(default_factory=list)

    def is_busy(self, *_: object) -> bool:
        self.looks -= 1
        return self.looks >= 0

    def steer(self, wish: OperatorRequest) -> GrayRelease:
        found = self.gray_store.read()
        assert found is not None
        after = replace(found, rollout=apply_request(found.rollout, wish.what))
        self.gray_store.write(after)
        return after


def _asked(environment: Controlled, monkeypatch: pytest.MonkeyPatch, what: str) -> GrayRelease:
    project: Any = SimpleNamespace()
    monkeypatch.setattr(verbs, "_find_running", lambda *_: (environment, environment.gray_store.read()))
    monkeypatch.setattr(verbs, "_is_busy", environment.is_busy)
    monkeypatch.setattr(verbs, "_PATIENCE", dict.fromkeys(("hold", "resume", "abort"), 5.0))
    return verbs.request_action(project, lambda _: None, what=what)


def test_issue10_gray_a_request_whose_controller_ends_is_done_at_once(
    gray_store: GrayStore, good: GrayRelease, monkeypatch: pytest.MonkeyPatch
):
    """The command waited forever, and the next promotion's controller took the request."""
    gray_store.write(replace(good, rollout=replace(good.rollout, phase="step", held=False)))
    assert _asked(Controlled(gray_store, looks=2), monkeypatch, "hold").rollout.held
    assert gray_store.read_pending() is None


def test_issue10_gray_a_request_that_was_replaced_says_so(
    gray_store: GrayStore, good: GrayRelease, monkeypatch: pytest.MonkeyPatch
):
    gray_store.write(replace(good, rollout=replace(good.rollout, phase="step", held=False)))
    monkeypatch.setattr(verbs, "_REPLACED", 0.2)
    ask = GrayStore.request

    def replaced(self: GrayStore, wish: OperatorRequest) -> None:
        ask(self, wish)
        ask(self, OperatorRequest(what="resume", by="ben", began=wish.began))

    monkeypatch.setattr(GrayStore, "request", replaced)
    with pytest.raises(DevboxError, match="cannot hold the gray release: another request replaced this one"):
        _asked(Controlled(gray_store, looks=1000), monkeypatch, "hold")
