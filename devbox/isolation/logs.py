"""Container logs: one file per container, read back merged by time.

A container writes into a FIFO that its supervisor holds open for reading *and* writing, so the pipe survives a killed
supervisor and its successor continues. A line is `2026-01-31T12:00:00.123456Z text`; at 10 MiB the file is renamed to
`NAME.log.1`, replacing the previous one.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

MASK = "***"
_SHORTEST = 4  # shorter values would mask half of every line, and are not secrets


class Mask:
    """Replaces secret values in lines before they are written. A multi-line value is masked line by line."""

    def __init__(self, values: tuple[str, ...] = ()) -> None:
        lines = {line.strip() for value in values for line in value.splitlines()}
        # Longest first: one value may contain another.
        self._hidden = tuple(sorted((line for line in lines if len(line) >= _SHORTEST), key=len, reverse=True))
        self._encoded = tuple(line.encode(errors="surrogateescape") for line in self._hidden)

    def mask_text(self, line: str) -> str:
        """Return the line with the values masked."""
        for value in self._hidden:
            line = line.replace(value, MASK)
        return line

    def mask_line(self, line: bytes) -> bytes:
        """Return the line with the values masked."""
        for value in self._encoded:
            if value in line:
                line = line.replace(value, MASK.encode())
        return line


_NO_MASK = Mask()

Line = tuple[str, str, str]  # container, time, text

ROTATE_AT = 10 * 1024 * 1024
LONGEST_LINE = 16 * 1024
_CHUNK = 64 * 1024
_CHUNKS_A_ROUND = 16
_FOLLOW_PAUSE = 0.05


def format_timestamp(seconds: float) -> str:
    """Format a time as RFC 3339 UTC with microseconds; timestamps sort chronologically."""
    whole = int(seconds)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((seconds - whole) * 1e6):06d}Z"


def open_fifo(path: str) -> int:
    """Open the FIFO at this path O_RDWR, so that it outlives its readers; create the FIFO if missing.

    Any user of the container may reopen it through /dev/stdout; its directory on the host is private.
    """
    if not os.path.lexists(path):
        os.mkfifo(path, 0o600)
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    os.fchmod(fd, 0o622)
    return fd


def open_writer(path: str) -> int:
    """Open the FIFO as a container's stdout: blocking, and O_RDWR so that the pipe never breaks."""
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


class LogWriter:
    """Writes a byte stream as timestamped lines of a size-capped file."""

    def __init__(self, path: str, *, mask: Mask = _NO_MASK) -> None:
        self._path = path
        self._mask = mask
        self._rest = b""
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size

    def pump(self, fifo: int) -> None:
        """Read the data in the FIFO, at most a bounded amount: heavy output must not starve the supervisor."""
        for _ in range(_CHUNKS_A_ROUND):
            try:
                data = os.read(fifo, _CHUNK)
            except BlockingIOError:
                return
            if not data:
                return
            self.write(data)

    def write(self, data: bytes) -> None:
        """Write all complete lines; buffer an incomplete line until it is completed or grows too long."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        while len(self._rest) >= LONGEST_LINE:
            lines.append(self._rest[:LONGEST_LINE])
            self._rest = self._rest[LONGEST_LINE:]
        self._append([self._mask.mask_line(line) for line in lines])

    def flush(self) -> None:
        """Write the buffered incomplete line, when its writer has exited or is waiting."""
        if self._rest:
            rest, self._rest = self._rest, b""
            self._append([self._mask.mask_line(rest)])

    @property
    def has_unfinished_line(self) -> bool:
        """Whether an incomplete line is buffered."""
        return bool(self._rest)

    def write_note(self, text: str) -> None:
        """Write a line of devbox's own into the log."""
        self.flush()
        self._append([self._mask.mask_line(f"devbox: {text}".encode())])

    def close(self) -> None:
        """Flush and close the file."""
        self.flush()
        os.close(self._fd)

    def _append(self, lines: list[bytes]) -> None:
        if not lines:
            return
        prefix = format_timestamp(time.time()).encode() + b" "
        data = b"".join(prefix + line.removesuffix(b"\r") + b"\n" for line in lines)
        try:
            self._size += os.write(self._fd, data)
        except OSError:
            return  # a full disk loses log lines but does not stop the supervisor
        if self._size >= ROTATE_AT:
            self._rotate()

    def _rotate(self) -> None:
        """Continue in a new file, or in the old one if that fails. The log may have been removed in the meantime."""
        full = self._fd
        with contextlib.suppress(OSError):
            os.rename(self._path, f"{self._path}.1")
        with contextlib.suppress(OSError):
            self._open()
            os.close(full)


def read(files: dict[str, str], *, tail: int | None = None, follow: bool = False) -> Iterator[Line]:
    """Yield the lines of several containers (name → log file) in order of time; `tail` limits each container.

    With `follow`, never end: yield new lines as they arrive, including those of containers that start later.
    """
    readers = [_LogReader(name, path) for name, path in files.items()]
    lines = [line for reader in readers for line in reader.read_history(tail)]
    yield from sorted(lines, key=_get_time)
    while follow:
        fresh = sorted((line for reader in readers for line in reader.read_new_lines()), key=_get_time)
        yield from fresh
        if not fresh:
            time.sleep(_FOLLOW_PAUSE)


def read_last_lines(path: str, count: int, *, since: str = "") -> list[str]:
    """Return the text of a container's last lines, not older than `since` (see `format_timestamp`)."""
    return [text for _, at, text in _LogReader("", path).read_history(count) if at >= since]


def read_stamped_lines(path: str) -> list[tuple[str, str]]:
    """Return all log lines of a container as (timestamp, text); see `format_timestamp`."""
    return [(at, text) for _, at, text in _LogReader("", path).read_history(None)]


def _get_time(line: Line) -> str:
    return line[1]


class _LogReader:
    """Reader of one container's log file across rotations."""

    def __init__(self, name: str, path: str) -> None:
        self._name = name
        self._path = path
        self._inode = 0
        self._offset = 0
        self._rest = b""

    def read_history(self, tail: int | None) -> list[Line]:
        """Return the existing lines, including the rotated file, and set the offset for `read_new_lines`."""
        lines = self.read_new_lines()
        if tail is not None and len(lines) >= tail:
            return lines[len(lines) - tail :]
        older = _LogReader(self._name, f"{self._path}.1").read_new_lines() if self._inode else []
        lines = older + lines
        return lines if tail is None else lines[max(0, len(lines) - tail) :]

    def read_new_lines(self) -> list[Line]:
        """Return the lines written since the last call."""
        data = b""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        try:
            inode = os.fstat(fd).st_ino
            if self._inode and inode != self._inode:
                data += self._read_rotated()
            self._inode = inode
            os.lseek(fd, self._offset, os.SEEK_SET)
            data += _read_all(fd)
            self._offset = os.lseek(fd, 0, os.SEEK_CUR)
        finally:
            os.close(fd)
        return self._split_lines(data)

    def _read_rotated(self) -> bytes:
        """Return the remainder of the file that was rotated since the last read."""
        offset, self._offset = self._offset, 0
        try:
            fd = os.open(f"{self._path}.1", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            if os.fstat(fd).st_ino != self._inode:
                return b""
            os.lseek(fd, offset, os.SEEK_SET)
            return _read_all(fd)
        finally:
            os.close(fd)

    def _split_lines(self, data: bytes) -> list[Line]:
        whole = (self._rest + data).split(b"\n")
        self._rest = whole.pop()
        lines = []
        for raw in whole:
            at, _, text = raw.decode(errors="replace").partition(" ")
            lines.append((self._name, at, text))
        return lines


def _read_all(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, 1024 * 1024):
        parts.append(part)
    return b"".join(parts)
