"""Failures of requests to a registry: errors with remedies, timeouts, and retries while there is progress."""

from __future__ import annotations

import queue
import re
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import urllib3
from urllib3 import exceptions

from devbox.errors import DevboxError, RegistryError, RegistryUnavailable
from devbox.images.registry.credentials import INSECURE
from devbox.images.registry.reference import DOCKER_HUB
from devbox.images.store import documents

_TRIES = 4  # consecutive attempts without progress
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 4.0
MAX_RETRY_AFTER = 20  # seconds; a registry that requests a longer wait is not retried

CONNECT, SILENCE = 15.0, 30.0  # seconds: connecting, and between two reads of a response
ANSWER = 60.0  # seconds for a complete response other than a blob
_WINDOW = 30.0  # seconds in which a blob must progress by
_LEAST = 30 << 10  # bytes
_SLOWEST_UPLOAD = 16 << 10  # bytes per second

T = TypeVar("T")
AT_ONCE = 4
Result = TypeVar("Result")
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TOO_MANY, _SERVER = 401, 403, 404, 429, 500
# OpenSSL's reasons for incompatible peers, from any of its functions.
_NO_AGREEMENT = re.compile("WRONG_VERSION_NUMBER|HTTP_REQUEST|UNSUPPORTED_PROTOCOL|HANDSHAKE_FAILURE|ALERT")
_NUMBER = re.compile(r"[0-9]{1,18}")
_MOST_SHOWN = 200
_AGAIN = "try again: the transferred data is kept"


def from_status(
    response: urllib3.BaseHTTPResponse, host: str, doing: str, *, user: str = "", missing: str = ""
) -> DevboxError:
    """Return the error for an unexpected status. `missing` names the object that a 404 reports as missing."""
    status, details = response.status, _read_details(response)
    login = "docker login" if host == DOCKER_HUB else f"docker login {host}"
    if status == _UNAUTHORIZED:
        return build_auth_error(host, doing, user=user, details=details)
    if status == _FORBIDDEN:
        account = user or "you"
        return RegistryError(
            f"{host} does not allow {account} to {doing}", details=details, remedy=f"log in as another user: {login}"
        )
    if status == _NOT_FOUND and missing:
        return RegistryError(
            f"{missing} not found on {host}", details=details, remedy="check the name, tag and registry"
        )
    if status == _TOO_MANY:
        after = parse_number(response.headers.get("Retry-After", ""))
        when = "later" if after is None else f"in {after} s"
        remedy = f"try again {when}; raise the limit with: {login}"
        error = RegistryUnavailable(f"too many requests to {host}: cannot {doing}", details=details, remedy=remedy)
        error.after = float(after or 0)
        return error
    if status >= _SERVER:
        return RegistryUnavailable(f"cannot {doing}: {host} returned {status}", details=details, remedy=_AGAIN)
    return RegistryError(
        f"cannot {doing}: {host} returned {status}",
        details=details,
        remedy="check the registry's log, and whether it is an OCI registry",
    )


def build_auth_error(host: str, doing: str, *, user: str, details: str) -> DevboxError:
    """Return the error for missing or refused credentials."""
    login = "docker login" if host == DOCKER_HUB else f"docker login {host}"
    if user:
        return RegistryError(f"login to {host} failed: invalid password of {user}", details=details, remedy=login)
    return RegistryError(f"cannot {doing}: {host} requires a login", details=details, remedy=login)


def from_http_error(error: exceptions.HTTPError, host: str, doing: str) -> DevboxError:
    """Return the error for a request without a complete response."""
    cause = _find_innermost(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return RegistryError(
            f"untrusted certificate of {host}: {cause.verify_message}",
            remedy="export DEVBOX_CA_FILE=FILE with the signing authorities",
        )
    if isinstance(cause, ssl.SSLError) and _NO_AGREEMENT.search(cause.reason or ""):  # others: a broken connection
        return RegistryError(
            f"TLS handshake with {host} failed: {cause.reason or cause}",
            remedy=f"to use no TLS on a trusted network: export {INSECURE}={host}",
        )
    if isinstance(cause, socket.gaierror | exceptions.NameResolutionError):
        return RegistryUnavailable(f"host {host.partition(':')[0]} not found", remedy="check the spelling")
    if isinstance(cause, exceptions.TimeoutError | TimeoutError):
        return build_slow_error(host, doing, f"no response from {host} for {SILENCE:.0f} s")
    why = _describe_cause(cause)
    return RegistryUnavailable(f"cannot {doing}: {host}: {why}", remedy=_AGAIN)


def build_slow_error(host: str, doing: str, why: str) -> RegistryUnavailable:
    """Return the error for an unresponsive or too slow registry."""
    error = RegistryUnavailable(
        f"cannot {doing}: {why}",
        remedy=f"{_AGAIN}; or use a mirror: export DEVBOX_REGISTRY_MIRRORS={host.partition('/')[0]}=https://MIRROR",
    )
    error.is_silent = True
    return error


def from_malformed(error: Exception, host: str, doing: str) -> DevboxError:
    """Return the error for a response with a malformed header or URL."""
    return RegistryError(
        f"cannot {doing}: malformed header from {host}: {repr(str(error)[:_MOST_SHOWN])[1:-1]}",
        remedy=f"check whether {host} is an OCI registry, or a proxy in front of one",
    )


def is_plain_http(error: exceptions.HTTPError) -> bool:
    """Return whether the peer did not answer with TLS."""
    cause = _find_innermost(error)
    return isinstance(cause, ssl.SSLError) and (cause.reason or "") in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")


def parse_number(text: str) -> int | None:
    """Return a header's number; None if it is not one."""
    return int(text) if _NUMBER.fullmatch(text) else None


def read_document(response: urllib3.BaseHTTPResponse) -> dict[str, Any]:
    """Return the JSON object in a response, read up to the size limit of documents; raise ValueError if invalid."""
    return documents.parse(run_with_timeout(lambda: read_beginning(response)))


def read_beginning(response: urllib3.BaseHTTPResponse) -> bytes:
    """Read a response's body, truncated just above the size limit of documents."""
    try:
        return response.read(documents.LIMIT + 1, decode_content=False) or response.data
    finally:
        response.close()  # unread data would block the connection's next user


def _find_innermost(error: BaseException) -> BaseException:
    """Return the innermost cause in urllib3's exception chain."""
    seen = error
    while True:
        reason = getattr(seen, "reason", None)
        inner = reason if isinstance(reason, BaseException) else seen.__cause__
        if inner is None and seen.args and isinstance(seen.args[-1], BaseException):
            inner = seen.args[-1]
        if inner is None:
            return seen
        seen = inner


def _describe_cause(cause: BaseException) -> str:
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__


def _read_details(response: urllib3.BaseHTTPResponse) -> str:
    """Return the registry's error details, if any."""
    try:
        errors = documents.read_tables(read_document(response), "errors")
    except (ValueError, exceptions.HTTPError, TooSlow):
        return ""
    return "\n".join(f"{each.get('code', '')}: {each.get('message', '')}".strip(": ") for each in errors)


def retry_transfer(attempt: Callable[[], T], *, position: Callable[[], int]) -> T:
    """Call `attempt` and retry on RegistryUnavailable while `position` advances; return the result."""
    failures, reached, pause = 0, position(), _FIRST_PAUSE
    while True:
        try:
            return attempt()
        except RegistryUnavailable as error:
            failures = 0 if position() > reached else failures + 1
            pause = _FIRST_PAUSE if failures == 0 else min(2 * pause, _LONGEST_PAUSE)
            reached = position()
            wait = max(pause, error.after)
            silent = error.is_silent and not failures < 1
            if silent or failures >= _TRIES or wait > MAX_RETRY_AFTER:
                raise
        threading.Event().wait(wait)


class TooSlow(Exception):
    """A response exceeded its time limit."""


def run_with_timeout(work: Callable[[], T], *, sent: int = 0, most: float | None = None) -> T:
    """Return the result of a request; raise TooSlow after a time limit. `sent`: bytes of the request.

    Read timeouts do not stop a response that trickles in. The waiting thread ends with this process.
    """
    done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:  # noqa: BLE001 - raised in the calling thread
            done.put((None, error))

    threading.Thread(target=attempt, daemon=True).start()
    try:
        result, error = done.get(timeout=(ANSWER if most is None else most) + sent / _SLOWEST_UPLOAD)
    except queue.Empty:
        raise TooSlow from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # set unless there is an error


class PaceMonitor:
    """Monitors the transfer rate of a blob."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._count = 0

    def record(self, count: int) -> None:
        """Count received bytes; raise TooSlow if the rate was too low for a while."""
        self._count += count
        now = time.monotonic()
        if now - self._began >= _WINDOW:
            if self._count < _LEAST:
                raise TooSlow
            self._began, self._count = now, 0


def format_slowest() -> str:
    """Format the minimum rate for a message."""
    return f"{_LEAST >> 10} kB in {_WINDOW:.0f} s"


def run_parallel(work: Callable[[Result], None], items: Iterable[Result]) -> None:
    """Run the work for every item; after an error, wait for the running ones and raise it."""
    waiting = deque(items)
    failures: list[BaseException] = []

    def go_on() -> None:
        while not failures:
            try:
                item = waiting.popleft()
            except IndexError:
                return
            try:
                work(item)
            except BaseException as error:  # noqa: BLE001 - raised in the calling thread
                failures.append(error)

    # Daemon threads, so that Ctrl-C exits at once: received data is kept anyway.
    threads = [threading.Thread(target=go_on, daemon=True) for _ in range(min(AT_ONCE, len(waiting)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
