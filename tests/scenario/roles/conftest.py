"""One box for the sample project: devbox as root with crun."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.machine import Box, destroy, make_box


@pytest.fixture(scope="session")
def home() -> Iterator[Box]:
    """The box of this run."""
    made = make_box("root-crun")
    yield made
    destroy(made)


@pytest.fixture
def box(home: Box) -> Iterator[Box]:
    """The box, restored after the test."""
    before = home.footprint()
    yield home
    home.clear()
    assert not home.leftovers(before), "the test left something on the machine"
