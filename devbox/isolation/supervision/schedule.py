"""When a scheduled container runs next, and waking up then. Times are UTC; clocks may jump and machines may sleep."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from devbox.isolation.supervision.loop import Callback, Loop, Timer

_LOOK = 30.0  # seconds between two looks at the clock


class Schedule:
    """The times of one container, after five cron fields; at most one of them is waited for."""

    def __init__(self, loop: Loop, fields: str) -> None:
        self._loop = loop
        self._fields = fields
        self._timer: Timer | None = None

    @property
    def waits(self) -> bool:
        """Whether it is going to call."""
        return self._timer is not None

    def wait(self, due: Callback) -> str:
        """Call at the next time, once; the time in words. What was waited for before is forgotten."""
        from cronsim import CronSim

        self.cancel()
        at = next(CronSim(self._fields, datetime.now(UTC)))
        self._look(at.timestamp(), due)
        return f"{at:%Y-%m-%d %H:%M} UTC"

    def cancel(self) -> None:
        """Do not call."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, at: float, due: Callback) -> None:
        left = at - time.time()
        if left <= 0:
            self._timer = None
            due()
        else:
            self._timer = self._loop.after(min(left, _LOOK), lambda: self._look(at, due))
