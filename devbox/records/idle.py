"""What an `up` that had nothing to do looked at, and what it told: the next one has nothing to do while that holds.

One file in the runtime directory, which `down` removes and a boot forgets. Fields end with a zero byte. Light.
"""

from __future__ import annotations

from devbox.host import files
from devbox.host.version import reader_id
from devbox.records import stamps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self


class Idle:
    """What is told: the addresses of what is up, a line each, and the container whose shell is worth a try."""

    __slots__ = ("addresses", "shell")

    def __init__(self, *, addresses: tuple[str, ...], shell: str) -> None:
        self.addresses = addresses
        self.shell = shell

    def write(self, path: str, stamped: tuple[str, ...]) -> None:
        """Keep it for as long as `stamped` holds, and the same code reads it."""
        fields = (reader_id(), self.shell, str(len(stamped)), *stamped, *self.addresses)
        files.write_atomic(path, "\0".join(fields), mode=0o600)

    @classmethod
    def read(cls, path: str) -> Self | None:
        """What an `up` would tell; None where it has to look itself."""
        text = files.read_text(path)
        if text is None or not text.startswith(f"{reader_id()}\0"):
            return None
        _, shell, count, *rest = text.split("\0")
        stamped, addresses = rest[: int(count)], rest[int(count) :]
        return cls(addresses=tuple(addresses), shell=shell) if stamps.hold(stamped) else None
