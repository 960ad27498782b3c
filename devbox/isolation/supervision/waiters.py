"""Who waits until a container is ready, and what they are told."""

from __future__ import annotations

import time
from collections.abc import Callable

from devbox.errors import DevboxError, NotReady
from devbox.isolation import logs, readiness
from devbox.isolation.state import Row
from devbox.isolation.supervision import endings
from devbox.isolation.supervision.loop import Callback
from devbox.isolation.types import Supervised

Answer = Callable[[DevboxError | None], None]

_LAST_LINES = 8  # of the log, for whom it is not ready


class Waiters:
    """Those who wait for one container: each is answered once, when it is ready or will not become so."""

    def __init__(self, item: Supervised, drain: Callback) -> None:
        """`drain` brings the container's log up to date."""
        self._item = item
        self._drain = drain
        self._answers: list[Answer] = []
        self._since = logs.stamp(time.time())  # what an earlier container of the name wrote explains nothing
        self.settled = False  # it has run so long that it counts as started

    def add(self, answer: Answer) -> None:
        """One more; `tell` comes next."""
        self._answers.append(answer)

    def tell(self, row: Row, complaint: str) -> None:
        """Answer all of them where `row` decides it. `complaint` is what its last failed probe said."""
        if not self._answers:
            return
        verdict = readiness.verdict(
            row,
            kind=self._item.kind,
            probed=self._item.probe is not None,
            settled=self.settled,
            complaint=complaint,
        )
        if verdict == readiness.UNKNOWN:
            return
        answers, self._answers = self._answers, []
        error = self._not_ready(verdict) if verdict else None
        for answer in answers:
            answer(error)

    def _not_ready(self, sentence: str) -> DevboxError:
        self._drain()
        details = "\n".join(endings.explained(logs.last_lines(self._item.log, _LAST_LINES, since=self._since)))
        return NotReady(sentence, details=details, remedy=f"devbox logs {self._item.launch.name}")
