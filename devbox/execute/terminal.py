"""The person's terminal, lent to a program that asks, or the shell of a step that failed; all others wait meanwhile."""

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
from devbox.model.spec import Spec


class SharedTerminal:
    """The terminal behind `fd`, and the display that draws on it. A `Lender` of images, whose `show` is a sink.

    Closing gives it back as it was, whatever a program that was killed had made of it.
    """

    def __init__(self, fd: int, sink: Sink) -> None:
        self.fd = os.dup(fd)  # a worker's own streams take the first numbers
        self._sink = sink
        self._lock = threading.Lock()
        self._as_it_was: list[Any] | None = None

    def show(self, event: Event) -> None:
        """Show an event, when the terminal is the display's."""
        with self._lock:
            self._sink(event)

    @contextmanager
    def lend(self, sentence: str, details: str) -> Iterator[None]:
        """See `images.lending.Lender`."""
        lines = [f"  | {line}" for line in details.strip().splitlines()[-8:]]
        hint = "a shell in the state it left, which is thrown away afterwards; exit ends it"
        with self._lock:
            self._sink(Lent(text="\n".join(map(to_one_line, (sentence, *lines, f"  → {hint}")))))
            try:
                yield
            finally:
                self._sink(Returned())

    @contextmanager
    def lend_for_prompt(self) -> Iterator[int]:
        """Its descriptor, for a program that may ask the person something; nobody else writes to it meanwhile."""
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
        """No longer lend it."""
        self._restore()
        os.close(self.fd)

    def _restore(self) -> None:
        """A program that did not come to its end may have left it without an echo."""
        if self._as_it_was is not None:
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._as_it_was)
            self._as_it_was = None


class SecretResolver:
    """Fetches them from where the file says, as far as the user allows. `terminal`: the person's, if there is one."""

    def __init__(self, resolved: Spec, *, terminal: SharedTerminal | None = None) -> None:
        self._root = resolved.instance.root
        self._allowed = resolved.allowed
        self._terminal = terminal
        self._known: dict[str, str] = {}  # reference → value
        self._lock = threading.Lock()

    def resolve(self, spec: ContainerSpec) -> dict[str, str]:
        """The secrets of a container by their names; see `envfile.secrets.fetch`."""
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
