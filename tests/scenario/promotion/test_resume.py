"""A killed promotion that resumes: the ledger records what is deployed."""

from __future__ import annotations

import pytest
from support.shop import APP, Shop

from devbox.errors import Denied
from devbox.model.ledger import APPLIED, FAILED
from devbox.model.release import Release


class _Killed(BaseException):
    """Substitute for SIGKILL."""


def _killed_at(shop: Shop, where: str) -> None:
    def point(name: str) -> None:
        if name == where:
            raise _Killed

    shop.point = point


IRREVERSIBLE = '[stage.test]\nstrategy = { kind = "rolling", irreversible = true }\n'


def _kill(shop: Shop, made: Release, *, at: str) -> None:
    """Begin a promotion to `test`, which is killed at this point."""
    _killed_at(shop, at)
    with pytest.raises(_Killed):
        shop.promote("test", made)
    shop.point = lambda _: None


def test_issue10_5_an_attempt_resumed_with_another_strategy_is_a_new_one(shop: Shop):
    """The file became irreversible meanwhile; the ledger said otherwise, and the rollback was made."""
    shop.promote("test", shop.release(1))
    made = shop.release(2)
    _kill(shop, made, at="deploying")
    shop.rewrite(APP + IRREVERSIBLE)
    assert shop.promote("test", made).deployment.stage.strategy.irreversible
    with pytest.raises(Denied, match="irreversible"):
        shop.rollback("test")
    assert [entry.attempt for entry in shop.entries("test") if entry.kind == FAILED] == [1]


def test_an_attempt_resumes_after_a_change_of_lines_only(shop: Shop):
    made = shop.release(1)
    _kill(shop, made, at="deploying")
    shop.rewrite(f"# a comment\n{APP}")
    shop.promote("test", made)
    assert [entry.attempt for entry in shop.entries("test") if entry.kind in (APPLIED, FAILED)] == [1]


def test_what_runs_already_is_entered_as_it_was_deployed(shop: Shop):
    made = shop.release(1)
    _kill(shop, made, at="deployed")
    shop.promote("test", made)
    assert shop.runs("test") == made.id
