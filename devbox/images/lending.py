"""A terminal for the shell of a step that failed: who has it, and how it is asked for."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class Lender(Protocol):
    """Has the terminal, and lends it to one failed step at a time. `fd` is a descriptor of it."""

    fd: int

    def lent(self, sentence: str, details: str) -> AbstractContextManager[None]:
        """While this is held, nobody else writes to the terminal. What failed, and its last lines, are shown before."""
