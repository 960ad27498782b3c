"""Logs: what containers print, one file per container, read back merged by time.

A container writes into a FIFO that its supervisor holds open for reading *and* writing: a killed supervisor breaks no
pipe, the next one reads on. A line of the file is `2026-01-31T12:00:00.123456Z text`; at 10 MiB the file is renamed to
`NAME.log.1`, replacing the one before.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

MASK = "***"
_SHORTEST = 4  # a shorter one would blot out half of every line, and is no secret anyway


class Mask:
    """Takes values out of what is to be written down, a line at a time. A value of several lines goes line by line."""

    def __init__(self, values: tuple[str, ...] = ()) -> None:
        lines = {line.strip() for value in values for line in value.splitlines()}
        # The longest first: one value may be part of another.
        self._hidden = tuple(sorted((line for line in lines if len(line) >= _SHORTEST), key=len, reverse=True))
        self._encoded = tuple(line.encode(errors="surrogateescape") for line in self._hidden)

    def mask_text(self, line: str) -> str:
        """The line without the values."""
        for value in self._hidden:
            line = line.replace(value, MASK)
        return line

    def mask_line(self, line: bytes) -> bytes:
        """The line without the values."""
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
    """A moment as RFC 3339 UTC with microseconds; stamps compare like the moments."""
    whole = int(seconds)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((seconds - whole) * 1e6):06d}Z"


def open_fifo(path: str) -> int:
    """The FIFO at this path, made when missing, as a descriptor that outlives its readers (O_RDWR).

    Any user of the container may open it again through /dev/stdout; on the host the directory around it is private.
    """
    if not os.path.lexists(path):
        os.mkfifo(path, 0o600)
    fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    os.fchmod(fd, 0o622)
    return fd


def open_writer(path: str) -> int:
    """The same FIFO for a container's stdout: blocking, and open for reading too, so that it never breaks."""
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


class LogWriter:
    """Turns bytes into stamped lines of a size-capped file."""

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
        """Take what the FIFO holds now, within reason: a chatterbox must not keep the supervisor from its work."""
        for _ in range(_CHUNKS_A_ROUND):
            try:
                data = os.read(fifo, _CHUNK)
            except BlockingIOError:
                return
            if not data:
                return
            self.write(data)

    def write(self, data: bytes) -> None:
        """Log every whole line; a line without its end is kept back until more comes, or it grows too long."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        while len(self._rest) >= LONGEST_LINE:
            lines.append(self._rest[:LONGEST_LINE])
            self._rest = self._rest[LONGEST_LINE:]
        self._append([self._mask.mask_line(line) for line in lines])

    def flush(self) -> None:
        """Log an unfinished line as it is: its writer has ended or waits."""
        if self._rest:
            rest, self._rest = self._rest, b""
            self._append([self._mask.mask_line(rest)])

    @property
    def has_unfinished_line(self) -> bool:
        """Whether a line without its end is kept back."""
        return bool(self._rest)

    def write_note(self, text: str) -> None:
        """A line of devbox's own among the container's."""
        self.flush()
        self._append([self._mask.mask_line(f"devbox: {text}".encode())])

    def close(self) -> None:
        """Flush and let the file go."""
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
            return  # a full disk costs log lines, not the supervisor
        if self._size >= ROTATE_AT:
            self._rotate()

    def _rotate(self) -> None:
        """Go on in a new file; in the old one where none can be made. Somebody may have removed the log meanwhile."""
        full = self._fd
        with contextlib.suppress(OSError):
            os.rename(self._path, f"{self._path}.1")
        with contextlib.suppress(OSError):
            self._open()
            os.close(full)


def read(files: dict[str, str], *, tail: int | None = None, follow: bool = False) -> Iterator[Line]:
    """The lines of several containers (name → log file) in the order they were written; `tail` limits each.

    With `follow` it never ends: what is written later is yielded as it comes, also by containers that start later.
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
    """The text of the last lines a container wrote, of those not before `since` (see `stamp`)."""
    return [text for _, at, text in _LogReader("", path).read_history(count) if at >= since]


def read_stamped_lines(path: str) -> list[tuple[str, str]]:
    """Return all lines in the log of a container as (timestamp, text); see `stamp`."""
    return [(at, text) for _, at, text in _LogReader("", path).read_history(None)]


def _get_time(line: Line) -> str:
    return line[1]


class _LogReader:
    """One container's log file, through its rotations."""

    def __init__(self, name: str, path: str) -> None:
        self._name = name
        self._path = path
        self._inode = 0
        self._offset = 0
        self._rest = b""

    def read_history(self, tail: int | None) -> list[Line]:
        """What is there now, older rotation included, and where `fresh` goes on."""
        lines = self.read_new_lines()
        if tail is not None and len(lines) >= tail:
            return lines[len(lines) - tail :]
        older = _LogReader(self._name, f"{self._path}.1").read_new_lines() if self._inode else []
        lines = older + lines
        return lines if tail is None else lines[max(0, len(lines) - tail) :]

    def read_new_lines(self) -> list[Line]:
        """What came since the last call."""
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
        """The end of the file that was renamed while we followed it."""
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
