"""The supervisor's loop, in the test process."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from devbox.isolation.supervisor.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop that fails the test when it waits for nothing."""
    before = signal.getsignal(signal.SIGCHLD)
    made = Loop()
    made.call_later(10, lambda: pytest.fail("the loop waited for nothing"))
    yield made
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, before)
