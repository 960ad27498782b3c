"""The supervisor's socket: requests and responses of this user's other processes."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable

from devbox.errors import DevboxError, EngineError, NotReady
from devbox.isolation import client, logs
from devbox.isolation.state import ContainerState
from devbox.isolation.supervisor import restart_policy
from devbox.isolation.supervisor.loop import Callback, Loop, Timer, log_error
from devbox.isolation.types import SupervisedContainer

CRASHES = 3  # crashes without a stable period in between after which waiting stops

READY = None
UNKNOWN = ""


def judge_readiness(row: ContainerState, *, kind: str, probed: bool, settled: bool, complaint: str) -> str | None:
    """Return READY, UNKNOWN (keep waiting), or the reason why the container will not become ready.

    `kind` is "service", "job" or "scheduled", which is ready as soon as it waits for its time; `probed`: it has a
    health check, whose last message is `complaint`; `settled`: it has run for a moment since its start. After a crash,
    the container must run for a stable period or become healthy.
    """
    failure = _find_failure(row, kind=kind, complaint=complaint)
    if failure or _is_ready(row, kind=kind, probed=probed, settled=settled):
        return failure or READY
    return UNKNOWN


def _find_failure(row: ContainerState, *, kind: str, complaint: str) -> str:
    if kind == "job" and row.state == "exited":
        return f"the job {row.name} failed: {row.reason}" if row.exit_code != 0 else ""
    if row.state in ("exited", "dead"):
        return f"{row.name} is not running: {row.reason or 'exited'}"
    if row.crashes >= CRASHES and _is_down(row):
        return f"{row.name} keeps crashing: {_describe_exit(row)}, {row.restarts} restarts"
    if row.health == "unhealthy":
        return f"{row.name} did not become ready{f': {complaint}' if complaint else ''}"
    return ""


def _is_ready(row: ContainerState, *, kind: str, probed: bool, settled: bool) -> bool:
    if kind == "scheduled":
        return row.state != "starting"
    if kind == "job":
        return row.state == "exited"
    if row.state != "running":
        return False
    if not row.released:
        return True  # its command and probe wait for a setup: for now only the container has to run
    if probed:
        return row.health == "healthy" and row.crashes < CRASHES
    return settled and not row.crashes


def _is_down(row: ContainerState) -> bool:
    """True if the container or its supervised command has ended and will be restarted."""
    return row.state == "restarting" or (row.state == "running" and bool(row.reason) and row.command is None)


def _describe_exit(row: ContainerState) -> str:
    """Return the last exit reason with the exit code."""
    code = f"exit code {row.exit_code}"
    if row.exit_code is None or code in row.reason:
        return row.reason or "exited"
    return f"{row.reason} ({code})" if row.reason else code


_LONGEST_REQUEST = 4 * 1024 * 1024
_ACCEPT_AGAIN = 0.2  # pause after a failed accept, such as with too many open files
_ANSWER_PATIENCE = 5.0  # seconds after which a client that does not read its responses is dropped

Handler = Callable[["ClientConnection", client.Message], None]


class SupervisorServer:
    """Listens, checks the peer's user id, and passes every request to the handler."""

    def __init__(self, loop: Loop, path: str, handler: Handler) -> None:
        self._loop = loop
        self._handler = handler
        self._path = path
        if os.path.lexists(path):
            os.unlink(path)  # left by a dead predecessor: the caller holds the supervisor's lock
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._socket.bind(path)
        os.chmod(path, 0o600)
        self._socket.listen(64)
        self._again: Timer | None = None
        self._listen()

    def close(self) -> None:
        """Accept no more connections."""
        if self._again is not None:
            self._again.cancel()
        self._loop.unwatch(self._socket.fileno())
        self._socket.close()
        if os.path.lexists(self._path):
            os.unlink(self._path)

    def _listen(self) -> None:
        self._loop.watch(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            link, _ = self._socket.accept()
        except BlockingIOError:
            return
        except OSError as error:  # the client waits, and the socket stays ready
            log_error(error)
            self._loop.unwatch(self._socket.fileno())
            self._again = self._loop.call_later(_ACCEPT_AGAIN, self._listen)
            return
        pid, uid, _ = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid != os.geteuid():
            link.close()
            return
        ClientConnection(self._loop, link, pid, self._handler)


class ClientConnection:
    """A client connection. `pid` is the process that connected."""

    def __init__(self, loop: Loop, link: socket.socket, pid: int, handler: Handler) -> None:
        self._loop = loop
        self._link = link
        self._handler = handler
        self._received = b""
        self._open = True
        self.pid = pid
        link.settimeout(_ANSWER_PATIENCE)
        loop.watch(link.fileno(), self._read)

    def answer(self, facts: client.Message) -> None:
        """Send a success response; no-op if the client is gone."""
        self._send({"ok": facts})

    def fail(self, error: DevboxError) -> None:
        """Send an error response."""
        self._send(client.encode_error(error))

    def _send(self, message: client.Message) -> None:
        if not self._open:
            return
        try:
            self._link.sendall(client.encode(message))
        except OSError:
            self._close()

    def _read(self) -> None:
        try:
            data = self._link.recv(65536)
        except OSError:
            data = b""
        if not data or len(self._received) > _LONGEST_REQUEST:
            self._close()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self._handle(line)

    def _handle(self, line: bytes) -> None:
        try:
            message = client.decode(line)
        except (ValueError, TypeError):
            self._close()
            return
        self.serve(message)

    def serve(self, message: client.Message) -> None:
        """Handle a request, possibly again; an error becomes the response."""
        try:
            self._handler(self, message)
        except DevboxError as error:
            self.fail(error)
        except OSError as error:
            self.fail(
                EngineError(
                    f"the instance's supervisor cannot {message.get('do')}: {error}",
                    remedy="find the cause with: devbox doctor",
                )
            )
        except Exception as error:
            self.fail(
                EngineError(
                    f"internal error of the supervisor in {message.get('do')!r}: {error!r}",
                    remedy="devbox down, then devbox up",
                )
            )
            raise

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._loop.unwatch(self._link.fileno())
            self._link.close()


Answer = Callable[[DevboxError | None], None]

_LAST_LINES = 8  # of the log, in the error of a container that is not ready


class Waiters:
    """Clients that wait for one container: each is answered once, when it is ready or will not become ready."""

    def __init__(self, item: SupervisedContainer, drain: Callback) -> None:
        """Wait for a container; `drain` brings its log up to date."""
        self._item = item
        self._drain = drain
        self._answers: list[Answer] = []
        self._since = logs.format_timestamp(time.time())  # earlier output belongs to a previous container of the name
        self.settled = False  # the container has run long enough to count as started

    def add(self, response: Answer) -> None:
        """Add a waiter; `response` must be called next."""
        self._answers.append(response)

    def answer(self, row: ContainerState, complaint: str) -> None:
        """Answer all waiters if `row` is conclusive. `complaint` is the message of the last failed probe."""
        if not self._answers:
            return
        verdict = judge_readiness(
            row, kind=self._item.kind, probed=self._item.probe is not None, settled=self.settled, complaint=complaint
        )
        if verdict == UNKNOWN:
            return
        answers, self._answers = self._answers, []
        error = self._build_error(verdict) if verdict else None
        for answer in answers:
            answer(error)

    def _build_error(self, sentence: str) -> DevboxError:
        self._drain()
        details = "\n".join(
            restart_policy.explain_init_errors(logs.read_last_lines(self._item.log, _LAST_LINES, since=self._since))
        )
        return NotReady(sentence, details=details, remedy=f"devbox logs {self._item.launch.name}")
