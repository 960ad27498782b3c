"""Plan execution: each step once, after its predecessors, independent steps in parallel. Decides nothing."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping

from devbox.errors import DevboxError
from devbox.execute.events import PlanMade, Sink, StepEnded, StepStarted
from devbox.model.plan import Op, Plan, Step

Action = Callable[[Step], str]
"""Runs one step and returns a short result; raises DevboxError on failure."""

# Steps mostly wait for other programs; more at once would only make the display hard to read.
MOST_AT_ONCE = 8


def run(plan: Plan, actions: Mapping[Op, Action], sink: Sink) -> None:
    """Run a plan. If a step fails, dependants are skipped, running steps finish, and the first failure is raised."""
    sink(PlanMade(steps=tuple((step.id, step.op, step.resource, step.reason) for step in plan.steps)))
    _PlanRun(plan, actions, sink).run()


class _PlanRun:
    """One run of one plan. Only the calling thread accesses its fields; workers report through a queue."""

    def __init__(self, plan: Plan, actions: Mapping[Op, Action], sink: Sink) -> None:
        self._waiting = {step.id: step for step in plan.steps}
        self._actions = actions
        self._sink = sink
        self._ended: dict[str, bool] = {}  # ID → succeeded
        self._running = 0
        self._results: queue.SimpleQueue[tuple[Step, float, str, BaseException | None]] = queue.SimpleQueue()
        self._failure: BaseException | None = None

    def run(self) -> None:
        self._start_ready()
        while self._running:
            self._handle_result()
            self._start_ready()
        for step in self._waiting.values():
            self._sink(_build_end_event(step, "skipped", 0.0, "not reached"))
        if self._failure is not None:
            raise self._failure

    def _start_ready(self) -> None:
        """Start the steps whose predecessors succeeded; none after a failure."""
        if self._failure is not None:
            return
        for step in list(self._waiting.values()):
            if self._running >= MOST_AT_ONCE:
                return
            if all(self._ended.get(before, False) for before in step.after):
                del self._waiting[step.id]
                self._start(step)

    def _start(self, step: Step) -> None:
        self._running += 1
        self._sink(StepStarted(id=step.id, op=step.op, resource=step.resource, reason=step.reason))
        # A daemon thread, so that Ctrl-C exits at once; its child processes end, too, or are adopted.
        threading.Thread(target=self._work, args=(step,), name=step.id, daemon=True).start()

    def _work(self, step: Step) -> None:
        began = time.monotonic()
        try:
            text, failure = self._actions[step.op](step), None
        except BaseException as error:  # noqa: BLE001 - handed to the calling thread, which raises it
            text, failure = "", error
        self._results.put((step, time.monotonic() - began, text, failure))

    def _handle_result(self) -> None:
        step, seconds, text, failure = self._results.get()
        self._running -= 1
        self._ended[step.id] = failure is None
        outcome = "done" if failure is None else "failed"
        if failure is not None:
            text = failure.sentence if isinstance(failure, DevboxError) else str(failure)
            self._failure = self._failure or failure
        self._sink(_build_end_event(step, outcome, seconds, text))


def _build_end_event(step: Step, outcome: str, seconds: float, text: str) -> StepEnded:
    return StepEnded(
        id=step.id, op=step.op, resource=step.resource, reason=step.reason, outcome=outcome, seconds=seconds, text=text
    )
