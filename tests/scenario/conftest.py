"""Boxes for scenario tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.boxes import KINDS, use
from support.machine import Box

collect_ignore = ["projects"]  # users' projects: their tests run inside their own containers

_MAIN, *_FURTHER = KINDS
ON_ALL = (_MAIN, *(pytest.param(kind, marks=pytest.mark.long) for kind in _FURTHER))
MAIN_JOBS = (*KINDS[:3], pytest.param(KINDS[3], marks=pytest.mark.long))


@pytest.fixture(params=ON_ALL)
def box(boxes: dict[str, Box], request: pytest.FixtureRequest) -> Iterator[Box]:
    """devbox as root with crun; the long suite also runs the test in all other modes."""
    yield from use(boxes, request.param)


@pytest.fixture(params=MAIN_JOBS)
def any_box(boxes: dict[str, Box], request: pytest.FixtureRequest) -> Iterator[Box]:
    """devbox as root and as an ordinary user, with crun and runc, also in the quick suite: for the main jobs."""
    yield from use(boxes, request.param)
