"""Poller of external metrics during a gray release, one thread per metric.

A hanging metric never delays a rollback: the controller only consumes available readings.
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
from typing import IO, Any, Self

from devbox.envfile import secrets
from devbox.errors import DevboxError, to_one_line
from devbox.gray.release import GrayRelease
from devbox.gray.state import MetricReading
from devbox.host import environ
from devbox.host.process import LIMIT, query_bounded
from devbox.isolation.logs import Mask
from devbox.model import jsontext
from devbox.model.container import Secret
from devbox.model.frozen import dataclass
from devbox.model.host_access import HostAccess, MetricAccess
from devbox.model.stage import Deployment, ExternalMetric, Stage

_MOST = 1_000_000  # bytes of an answer: more than any number needs
_SHOWN_COMPLAINT = 200  # characters of an error message


class MetricUnavailable(Exception):
    """A missing metric value, with a short reason."""


def query_prometheus(query: str, *, url: str, authorization: str = "", timeout: float) -> float:
    """Return the current value of a query. Raises MetricUnavailable."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.parse import urlencode
    from urllib.request import Request

    headers = {"Accept": "application/json", **({"Authorization": authorization} if authorization else {})}
    request = Request(f"{url}/api/v1/query?{urlencode({'query': query})}", headers=headers)  # noqa: S310 - http(s) only
    try:
        with _build_opener().open(request, timeout=timeout) as answer:
            return parse_answer(answer.read(_MOST))
    except HTTPError as error:
        raise MetricUnavailable(f"{url} returned {error.code}{_read_complaint(error)}") from None
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise MetricUnavailable(f"{url} does not respond: {getattr(reason, 'strerror', None) or reason}") from None


def parse_answer(answer: bytes) -> float:
    """Return the number in an answer. Raises MetricUnavailable if there is none or several."""
    try:
        plain = jsontext.loads(answer)
        if plain["status"] != "success":
            raise MetricUnavailable(
                f"Prometheus reports: {str(plain.get('error', plain['status']))[:_SHOWN_COMPLAINT]}"
            )
        number = float(_extract_sample(plain["data"]))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError):
        raise MetricUnavailable("invalid answer: not from Prometheus") from None
    if not math.isfinite(number):
        raise MetricUnavailable(f"the query returned {number}")
    return number


def _extract_sample(data: dict[str, Any]) -> Any:
    if data["resultType"] == "scalar":
        return data["result"][1]
    if data["resultType"] != "vector":
        raise MetricUnavailable(f"the query returned a {data['resultType']}, not a number")
    series = data["result"]
    if len(series) != 1:
        raise MetricUnavailable(
            f"the query returned {len(series)} series, not one" if series else "the query returned no series"
        )
    return series[0]["value"][1]


def _read_complaint(error: IO[bytes]) -> str:
    try:
        return f": {str(jsontext.loads(error.read(_MOST))['error'])[:_SHOWN_COMPLAINT]}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _build_opener() -> Any:
    """Return an opener without redirects: its authorization header is for one server only."""
    from urllib.request import HTTPRedirectHandler, HTTPSHandler, build_opener

    from devbox.host import host_settings

    class _Stays(HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    return build_opener(_Stays, HTTPSHandler(context=host_settings.create_tls_context()))


_SHOWN = 200  # characters of a command's last output
_SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, kw_only=True)
class MetricContext:
    """Context of external metrics: project directory and stage variables. References that are not allowed are skipped.

    `names`: variables about the canary, also usable in queries. `fetch`: returns secret values or raises DevboxError.
    """

    root: str
    env: Mapping[str, str]
    names: Mapping[str, str]
    secrets: Mapping[str, Secret]
    allowed: frozenset[str]  # commands of metrics
    fetch: Callable[[Mapping[str, Secret]], dict[str, str]]


class MetricPoller:
    """Context manager that polls external metrics; on exit, running commands are killed."""

    def __init__(self, metrics: Iterable[ExternalMetric], place: MetricContext) -> None:
        self._place = place
        self._fetched: dict[str, str] | None = None
        self._fetching = threading.Lock()
        self._readings: queue.SimpleQueue[MetricReading] = queue.SimpleQueue()
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._poll, args=(metric,), name=f"metric {metric.name}", daemon=True)
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

    def consume_readings(self) -> tuple[MetricReading, ...]:
        """Return the readings since the last call."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._readings.get_nowait())
        return tuple(found)

    def _poll(self, metric: ExternalMetric) -> None:
        while not self._over.is_set():
            self._readings.put(self._read_metric(metric))
            self._over.wait(metric.every)

    def _read_metric(self, metric: ExternalMetric) -> MetricReading:
        began = time.time()
        try:
            if metric.command:
                return self._run_command(metric, began)
            query = string.Template(metric.promql).safe_substitute(self._place.names)
            number = query_prometheus(
                query, url=metric.url, authorization=self._fetch_header(metric), timeout=metric.timeout
            )
            return MetricReading(name=metric.name, began=began, value=number)
        except (MetricUnavailable, OSError) as error:
            return MetricReading(name=metric.name, began=began, trouble=to_one_line(str(error)))
        except DevboxError as error:
            return MetricReading(name=metric.name, began=began, trouble=error.sentence)

    def _run_command(self, metric: ExternalMetric, began: float) -> MetricReading:
        if shlex.join(metric.command) not in self._place.allowed:
            return MetricReading(
                name=metric.name, began=began, trouble="its command is not allowed; allow it with: devbox trust"
            )
        secrets = self._fetch_secrets()
        done = query_bounded(
            metric.command,
            env={**environ.copy_environment(), **self._place.env, **secrets, **self._place.names},
            cwd=self._place.root,
            timeout=metric.timeout,
            is_over=self._over.is_set,
        )
        if done.is_too_long:
            trouble = f"`{_format_command(metric)}` printed more than {LIMIT >> 20} MiB, and was stopped"
            return MetricReading(name=metric.name, began=began, trouble=trouble)
        mask = Mask(tuple(secrets.values()))
        printed, complained = (_find_last_line(mask.mask_line(stream))[:_SHOWN] for stream in (done.out, done.err))
        return judge_output(metric, done.code, printed, complained, began=began)

    def _fetch_secrets(self) -> dict[str, str]:
        """Return the stage's secrets, fetched once."""
        with self._fetching:
            if self._fetched is None:
                self._fetched = self._place.fetch(self._place.secrets)
            return self._fetched

    def _fetch_header(self, metric: ExternalMetric) -> str:
        if not metric.authorization:
            return ""
        name = f"{metric.name}.authorization"
        return self._place.fetch({name: Secret(reference=metric.authorization)})[name]


def judge_output(
    metric: ExternalMetric, code: int | None, printed: str, complained: str, *, began: float
) -> MetricReading:
    """Return a command's reading from its exit status and last output line."""
    shown = _format_command(metric)
    if code is None:
        return MetricReading(name=metric.name, began=began, trouble=f"`{shown}` timed out after {metric.timeout:g} s")
    limited = metric.most is not None or metric.least is not None
    if code and (limited or code != 1):
        detail = f": {complained or printed}" if complained or printed else ""
        return MetricReading(name=metric.name, began=began, trouble=f"`{shown}` exited with code {code}{detail}")
    if not limited:
        return MetricReading(name=metric.name, began=began, no=code == 1, said=printed or complained)
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(printed)):
            return MetricReading(name=metric.name, began=began, value=number)
    what = repr(printed) if printed else "nothing"
    return MetricReading(name=metric.name, began=began, trouble=f"`{shown}` printed {what}, not a number")


def _format_command(metric: ExternalMetric) -> str:
    """Format a command as in the env file."""
    return metric.command[-1] if metric.command[: len(_SHELL)] == _SHELL else shlex.join(metric.command)


def _find_last_line(text: bytes) -> str:
    return to_one_line(text.decode(errors="replace").strip().rpartition("\n")[2])


@dataclass(frozen=True, kw_only=True)
class MetricScope:
    """The project and the host access of its stages."""

    root: str
    allowed: tuple[HostAccess, ...]

    def build_context(
        self, gray_release: GrayRelease, *, stage: Stage, home: Stage, address: str, stable: Deployment | None
    ) -> MetricContext:
        """Return the context for a canary of `stage` in the environment of `home`, next to `stable`."""
        outside = {name: at for every in home.external.values() for name, at in every.items()}

        def fetch(desired: Mapping[str, Secret]) -> dict[str, str]:
            return secrets.fetch(desired, root=self.root, where=stage.where, allowed=self.allowed)

        return MetricContext(
            root=self.root,
            env={**home.env, **stage.env},
            names={
                "DEVBOX_STAGE": stage.name,
                "DEVBOX_RELEASE": gray_release.release,
                "DEVBOX_DIGEST": gray_release.deployment.release.image,
                "DEVBOX_STABLE_RELEASE": stable.release.id if stable else "",
                "DEVBOX_ADDRESS": address,
            },
            secrets={**{name: Secret(reference=at) for name, at in outside.items()}, **home.secrets, **stage.secrets},
            allowed=frozenset(each.command for each in self.allowed if isinstance(each, MetricAccess)),
            fetch=fetch,
        )
