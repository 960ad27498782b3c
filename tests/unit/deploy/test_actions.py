"""Messages about drained connections agree in number."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from devbox.deploy.actions import RolloutActions
from devbox.model.plan import Step


@pytest.mark.parametrize(
    ("number", "goes", "cut", "kept"),
    [
        (1, "1 long connection still open", "cut 1 long connection", "kept for 1 long connection"),
        (2, "2 long connections still open", "cut 2 long connections", "kept for 2 long connections"),
    ],
)
def test_issue10_connections_are_counted_in_words(number: int, goes: str, cut: str, kept: str):
    actions = object.__new__(RolloutActions)
    told: list[object] = []
    answer = lambda *_args, **_options: number  # noqa: E731 - of each question to the router
    actions._router = SimpleNamespace(drain=answer, finish=answer, count_open=answer)
    actions._sink, actions._drain = told.append, 5.0
    step = cast("Step", SimpleNamespace(resource="web-1", op="drain"))
    assert actions.drain(step) == goes
    assert actions.finish(step) == cut
    assert actions.retire(step) == kept
    assert cut in told[-1].text
