"""Boxes for scenario tests: made once per run and kind, cleared after every test, destroyed at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.machine import Box, destroy, make_box, with_runtime

collect_ignore = ["projects"]  # users' projects: their tests run inside their own containers

KINDS = ("root-crun", "root-runc", "user-crun", "user-runc")
_MAIN, *_FURTHER = KINDS
ON_ALL = (_MAIN, *(pytest.param(kind, marks=pytest.mark.long) for kind in _FURTHER))
MAIN_JOBS = (*KINDS[:3], pytest.param(KINDS[3], marks=pytest.mark.long))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is for root, on the boxes of an ordinary user."""
    left_out = [item for item in items if item.get_closest_marker("as_root") and "[user-" in item.name]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def boxes() -> Iterator[dict[str, Box]]:
    """The boxes of this run by kind."""
    made: dict[str, Box] = {}
    yield made
    for box in {box.home: box for box in made.values()}.values():
        destroy(box)


def _box(boxes: dict[str, Box], kind: str) -> Iterator[Box]:
    """A box of a kind, made on first use. Those of one user share a home, so that images are baked once."""
    if kind not in boxes:
        who = kind.partition("-")[0]
        known = next((box for name, box in boxes.items() if name.startswith(f"{who}-")), None)
        boxes[kind] = with_runtime(known, kind) if known else make_box(kind)
    box = boxes[kind]
    before = box.footprint()
    yield box
    box.clear()
    assert not box.leftovers(before), "the test left something on the machine"


@pytest.fixture(params=ON_ALL)
def box(boxes: dict[str, Box], request: pytest.FixtureRequest) -> Iterator[Box]:
    """devbox as root with crun; the long suite runs the test in every other way, too."""
    yield from _box(boxes, request.param)


@pytest.fixture(params=MAIN_JOBS)
def any_box(boxes: dict[str, Box], request: pytest.FixtureRequest) -> Iterator[Box]:
    """devbox as root and as an ordinary user, with crun and runc, also in the quick suite: for the main jobs."""
    yield from _box(boxes, request.param)
