"""Asks the metrics from outside, each in a thread of its own, while a gray release is controlled.

Whatever hangs there keeps nobody from taking a bad release back: the controller only takes what is there.
"""

from __future__ import annotations

import contextlib
import math
import queue
import shlex
import string
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Self

from devbox.errors import DevboxError, one_line
from devbox.execute import promql
from devbox.frozen import dataclass
from devbox.gray.outside import Reading
from devbox.host import environ
from devbox.host.bounded import LIMIT, ask_bounded
from devbox.isolation.masking import Mask
from devbox.model.container import Secret
from devbox.model.stage import Outside

_SHOWN = 200  # characters of what a command printed last
_SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where they are asked: in the project's directory, with the stage's variables. What was not allowed is not asked.

    `names`: variables that say what is on trial; queries may name them, too. `fetch`: the values of secrets, or
    DevboxError.
    """

    root: str
    env: Mapping[str, str]
    names: Mapping[str, str]
    secrets: Mapping[str, Secret]
    allowed: frozenset[str]  # references
    fetch: Callable[[Mapping[str, Secret]], dict[str, str]]


class Measures:
    """The metrics from outside while this is entered; when it is left, what still runs is killed."""

    def __init__(self, metrics: Iterable[Outside], place: Place) -> None:
        self._place = place
        self._fetched: dict[str, str] | None = None
        self._fetching = threading.Lock()
        self._readings: queue.SimpleQueue[Reading] = queue.SimpleQueue()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask_again, args=(metric,), name=f"metric {metric.name}", daemon=True)
            for metric in metrics
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=1)

    def take(self) -> tuple[Reading, ...]:
        """What was answered since this was asked last."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._readings.get_nowait())
        return tuple(found)

    def _ask_again(self, metric: Outside) -> None:
        while not self._over.is_set():
            self._readings.put(self._asked(metric))
            self._over.wait(metric.every)

    def _asked(self, metric: Outside) -> Reading:
        began = time.time()
        try:
            if metric.command:
                return self._commanded(metric, began)
            query = string.Template(metric.promql).safe_substitute(self._place.names)
            number = promql.ask(query, url=metric.url, authorization=self._header(metric), timeout=metric.timeout)
            return Reading(name=metric.name, began=began, value=number)
        except (promql.NoNumber, OSError) as error:
            return Reading(name=metric.name, began=began, trouble=one_line(str(error)))
        except DevboxError as error:
            return Reading(name=metric.name, began=began, trouble=error.sentence)

    def _commanded(self, metric: Outside, began: float) -> Reading:
        if f"cmd:{shlex.join(metric.command)}" not in self._place.allowed:
            return Reading(name=metric.name, began=began, trouble="its command is not allowed: devbox trust")
        secrets = self._secrets()
        done = ask_bounded(
            metric.command,
            env={**environ.snapshot(), **self._place.env, **secrets, **self._place.names},
            cwd=self._place.root,
            timeout=metric.timeout,
            is_over=self._over.is_set,
        )
        if done.is_too_long:
            trouble = f"`{_shown(metric)}` printed more than {LIMIT >> 20} MiB, and was stopped"
            return Reading(name=metric.name, began=began, trouble=trouble)
        mask = Mask(tuple(secrets.values()))
        printed, complained = (_last(mask.line(stream))[:_SHOWN] for stream in (done.out, done.err))
        return judged(metric, done.code, printed, complained, began=began)

    def _secrets(self) -> dict[str, str]:
        """Those of the stage, fetched once."""
        with self._fetching:
            if self._fetched is None:
                self._fetched = self._place.fetch(self._place.secrets)
            return self._fetched

    def _header(self, metric: Outside) -> str:
        if not metric.authorization:
            return ""
        name = f"{metric.name}.authorization"
        return self._place.fetch({name: Secret(reference=metric.authorization)})[name]


def judged(metric: Outside, code: int | None, printed: str, complained: str, *, began: float) -> Reading:
    """What a command answered, by how it ended and the last line it printed."""
    shown = _shown(metric)
    if code is None:
        return Reading(name=metric.name, began=began, trouble=f"`{shown}` gave no answer in {metric.timeout:g} s")
    limited = metric.most is not None or metric.least is not None
    if code and (limited or code != 1):
        said = f": {complained or printed}" if complained or printed else ""
        return Reading(name=metric.name, began=began, trouble=f"`{shown}` ended with {code}{said}")
    if not limited:
        return Reading(name=metric.name, began=began, no=code == 1, said=printed or complained)
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(printed)):
            return Reading(name=metric.name, began=began, value=number)
    what = repr(printed) if printed else "nothing"
    return Reading(name=metric.name, began=began, trouble=f"`{shown}` printed {what}, not a number")


def _shown(metric: Outside) -> str:
    """Its command as the user wrote it."""
    return metric.command[-1] if metric.command[: len(_SHELL)] == _SHELL else shlex.join(metric.command)


def _last(text: bytes) -> str:
    """The last line."""
    return one_line(text.decode(errors="replace").strip().rpartition("\n")[2])
