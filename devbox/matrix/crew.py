"""Runs cells beside each other: so many tests at once, and one cell more whose services already start."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from devbox.matrix.running import CellRun, Surroundings
from devbox.model.matrix import CellDone, CellEvent, CellResult

OnResult = Callable[[CellRun, CellResult], None]


class Crew:
    """One crew for one run. Only the calling thread hands out results."""

    def __init__(self, around: Surroundings, runs: Sequence[CellRun], *, jobs: int, fail_fast: bool) -> None:
        self._around = around
        self._waiting = deque(runs)
        self._active: set[CellRun] = set()
        self._guard = threading.Lock()
        self._results: queue.SimpleQueue[tuple[CellRun, CellResult]] = queue.SimpleQueue()
        self._fail_fast = fail_fast
        self._failed = ""  # the cell after whose failure none begins
        self._hands = min(len(runs), jobs + 1 if jobs > 1 else jobs)
        self.interrupted = False

    def work(self, on_result: OnResult) -> None:
        """Run all cells, and hand each result over as it comes."""
        left = len(self._waiting)
        for each in self._waiting:
            self._around.board(CellEvent(cell=each.wanted.cell.name, phase="waiting", at=time.monotonic()))
        for number in range(self._hands):
            threading.Thread(target=self._hand, name=f"cells-{number}", daemon=True).start()
        for _ in range(left):
            run, result = self._results.get()
            on_result(run, result)
            self._around.board(CellDone(result=result, at=time.monotonic()))

    def interrupt(self) -> None:
        """Nothing begins any more, and what runs is ended, all of it at once. From a signal's handler."""
        self.interrupted = True
        self._around.stopping.set()
        with self._guard:  # the main thread, in which handlers run, never holds it
            active = tuple(self._active)
        for run in active:
            threading.Thread(target=run.abort, daemon=True).start()

    def _hand(self) -> None:
        """Take cells one after the other until there are none left."""
        while (run := self._next()) is not None:
            try:
                result = self._skipped(run) or run.run()
            except BaseException as error:  # noqa: BLE001 - the others go on; a cell without a result would hang all
                sentence = f"this is a fault of devbox: {type(error).__name__}: {error}"
                result = CellResult(cell=run.wanted.cell, state="error", reason=sentence)
            with self._guard:
                self._active.discard(run)
                if self._fail_fast and not result.green and not self._failed:
                    self._failed = result.cell.name
            self._results.put((run, result))

    def _next(self) -> CellRun | None:
        with self._guard:
            if not self._waiting:
                return None
            run = self._waiting.popleft()
            self._active.add(run)
            return run

    def _skipped(self, run: CellRun) -> CellResult | None:
        """The result of a cell that is not begun any more."""
        blank = CellResult(cell=run.wanted.cell, state="skipped")
        if self._around.stopping.is_set():
            return replace(blank, reason="interrupted before it began")
        if self._failed:
            return replace(blank, reason=f"fail_fast: {self._failed} failed before it began")
        return None
