"""The user's terminal, lent to a prompting program or the shell of a failed step while all others wait."""

from __future__ import annotations

import contextlib
import os
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from devbox.envfile import secrets
from devbox.errors import to_one_line
from devbox.execute.events import Event, Lent, Returned, Sink
from devbox.model.container import ContainerSpec, Secret
from devbox.model.spec import Desired


class SharedTerminal:
    """The terminal behind `fd` and its display. Implements `Lender` of images; `show` is a sink.

    `close` restores the terminal modes, even if a program was killed.
    """

    def __init__(self, fd: int, sink: Sink) -> None:
        self.fd = os.dup(fd)  # a worker's own streams use the lowest numbers
        self._sink = sink
        self._lock = threading.Lock()
        self._as_it_was: list[Any] | None = None

    def show(self, event: Event) -> None:
        """Show an event once the display owns the terminal."""
        with self._lock:
            self._sink(event)

    @contextmanager
    def lend(self, sentence: str, details: str) -> Iterator[None]:
        """See `images.bake.output.Lender`."""
        lines = [f"  | {line}" for line in details.strip().splitlines()[-8:]]
        hint = "shell in the state after the failure; its changes are discarded on exit"
        with self._lock:
            self._sink(Lent(text="\n".join(map(to_one_line, (sentence, *lines, f"  → {hint}")))))
            try:
                yield
            finally:
                self._sink(Returned())

    @contextmanager
    def lend_for_prompt(self) -> Iterator[int]:
        """Lend the descriptor to a program that may prompt; no other program writes to the terminal meanwhile."""
        with self._lock:
            self._sink(Lent(text=""))
            if os.isatty(self.fd):
                self._as_it_was = termios.tcgetattr(self.fd)
            try:
                yield self.fd
            finally:
                self._restore()
                self._sink(Returned())

    def close(self) -> None:
        """Stop lending and close the terminal."""
        self._restore()
        os.close(self.fd)

    def _restore(self) -> None:
        """Restore the terminal modes, as a killed program may have disabled echo."""
        if self._as_it_was is not None:
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._as_it_was)
            self._as_it_was = None


class SecretResolver:
    """Resolver of secrets that the user has allowed. `terminal`: the user's terminal, if any."""

    def __init__(self, desired: Desired, *, terminal: SharedTerminal | None = None) -> None:
        self._root = desired.instance.root
        self._allowed = desired.allowed
        self._terminal = terminal
        self._known: dict[str, str] = {}  # reference → value
        self._lock = threading.Lock()

    def resolve(self, spec: ContainerSpec) -> dict[str, str]:
        """Return the secrets of a container by name; see `envfile.secrets.fetch`."""
        with self._lock:
            return {name: self._resolve_value(name, secret, spec.where) for name, secret in spec.secrets.items()}

    def _resolve_value(self, name: str, secret: Secret, where: str) -> str:
        if secret.reference not in self._known:
            with (
                self._terminal.lend_for_prompt()
                if self._terminal and secrets.may_prompt(secret)
                else contextlib.nullcontext() as fd
            ):
                found = secrets.fetch({name: secret}, root=self._root, where=where, allowed=self._allowed, terminal=fd)
            self._known[secret.reference] = found[name]
        return self._known[secret.reference]
