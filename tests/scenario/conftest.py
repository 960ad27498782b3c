"""Boxes for scenario tests: made once per run and kind, cleared after every test, destroyed at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.machine import Box, destroy, make_box, with_runtime

collect_ignore = ["projects"]  # users' projects: their tests run inside their own containers

KINDS = ("root-crun", "root-runc", "user-crun")


@pytest.fixture(scope="session")
def boxes() -> Iterator[dict[str, Box]]:
    """The boxes of this run by kind."""
    made: dict[str, Box] = {}
    yield made
    for box in {box.home: box for box in made.values()}.values():
        destroy(box)


def _box(boxes: dict[str, Box], kind: str) -> Iterator[Box]:
    """A box of a kind, made on first use. Root's share one home, so that images are baked once."""
    if kind not in boxes:
        root = next((box for name, box in boxes.items() if name.startswith("root-")), None)
        boxes[kind] = with_runtime(root, kind) if root and kind.startswith("root-") else make_box(kind)
    box = boxes[kind]
    before = box.footprint()
    yield box
    box.clear()
    assert not box.leftovers(before), "the test left something on the machine"


@pytest.fixture
def box(boxes: dict[str, Box]) -> Iterator[Box]:
    """devbox as root with crun."""
    yield from _box(boxes, "root-crun")


@pytest.fixture(params=KINDS)
def any_box(boxes: dict[str, Box], request: pytest.FixtureRequest) -> Iterator[Box]:
    """devbox in every way it is to work: the main jobs run on each."""
    yield from _box(boxes, request.param)
