"""As much of DNS (RFC 1035) as it takes to read a question and the addresses of an answer. Pure, and never trusting."""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

NO_SUCH_NAME, FAILED, NOT_UNDERSTOOD = 3, 2, 1
_HEADER = struct.Struct("!HHHHHH")
_RECORD = struct.Struct("!HHIH")  # type, class, seconds to live, length of the data
_RESPONSE, _OPERATION, _RECURSION = 0x8000, 0x7800, 0x0100
_RECURSION_AVAILABLE = 0x0080
_ADDRESS, _ADDRESS6, _INTERNET = 1, 28, 1
_POINTER = 0xC0


class Crooked(ValueError):
    """A message that is cut off, or contradicts itself."""


class Question(NamedTuple):
    """What a query asks for. `end`: where its question section ends."""

    name: str  # lower case, without the last point
    end: int


def question(message: bytes) -> Question | None:
    """The question of a query; None for anything that is not one question in the plain."""
    if len(message) < _HEADER.size:
        return None
    _, flags, questions, answers, _, _ = _HEADER.unpack_from(message)
    if flags & (_RESPONSE | _OPERATION) or questions != 1 or answers:
        return None
    labels, at = [], _HEADER.size
    while at < len(message) and (length := message[at]):
        if length & _POINTER or at + 1 + length > len(message):
            return None
        labels.append(message[at + 1 : at + 1 + length])
        at += 1 + length
    end = at + 5  # the root label, type, class
    if end > len(message) or not all(label.isascii() and b"." not in label for label in labels):
        return None
    return Question(b".".join(labels).decode("ascii").lower(), end)


def failure(query: bytes, end: int, code: int) -> bytes:
    """The answer that says no, in the words of the question."""
    number, flags = struct.unpack_from("!HH", query)
    flags = _RESPONSE | _RECURSION_AVAILABLE | (flags & (_OPERATION | _RECURSION)) | code
    asked = query[_HEADER.size : end]
    return _HEADER.pack(number, flags, 1 if asked else 0, 0, 0, 0) + asked


def answers_to(query: bytes, end: int, answer: bytes) -> bool:
    """Whether a message answers this very query."""
    if len(answer) < end or not answer[2] & 0x80:
        return False
    return answer[:2] == query[:2] and answer[_HEADER.size : end].lower() == query[_HEADER.size : end].lower()


def addresses(answer: bytes, end: int) -> list[tuple[str, int]]:
    """The addresses in the answer section and their seconds to live. Crooked when it can't be read."""
    found: list[tuple[str, int]] = []
    at = end
    try:
        for _ in range(_HEADER.unpack_from(answer)[3]):
            at = _after_name(answer, at)
            kind, family, ttl, length = _RECORD.unpack_from(answer, at)
            at += _RECORD.size
            data, at = answer[at : at + length], at + length
            if family == _INTERNET and kind in (_ADDRESS, _ADDRESS6):
                found.append((socket.inet_ntop(socket.AF_INET if kind == _ADDRESS else socket.AF_INET6, data), ttl))
    except (struct.error, IndexError, ValueError) as error:
        raise Crooked(str(error)) from None
    return found


def _after_name(message: bytes, at: int) -> int:
    """Where a name ends: at its root label, or behind its first pointer."""
    while message[at] and not message[at] & _POINTER:
        at += 1 + message[at]
    return at + (2 if message[at] else 1)
