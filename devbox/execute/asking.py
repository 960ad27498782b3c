"""The secrets of what one command of devbox starts: each is fetched once, one at a time, since it may ask a person."""

from __future__ import annotations

import contextlib
import threading

from devbox.envfile import secrets
from devbox.execute.lending import Terminal
from devbox.model.container import ContainerSpec, Secret
from devbox.model.resolved import Resolved


class Secrets:
    """Fetches them from where the file says, as far as the user allows. `terminal`: the person's, if there is one."""

    def __init__(self, resolved: Resolved, *, terminal: Terminal | None = None) -> None:
        self._root = resolved.instance.root
        self._allowed = resolved.allowed
        self._terminal = terminal
        self._known: dict[str, str] = {}  # reference → value
        self._lock = threading.Lock()

    def of(self, spec: ContainerSpec) -> dict[str, str]:
        """The secrets of a container by their names; see `envfile.secrets.fetch`."""
        with self._lock:
            return {name: self._value(name, secret, spec.where) for name, secret in spec.secrets.items()}

    def _value(self, name: str, secret: Secret, where: str) -> str:
        if secret.reference not in self._known:
            with self._terminal.asked() if self._terminal and secrets.asks(secret) else contextlib.nullcontext() as fd:
                found = secrets.fetch({name: secret}, root=self._root, where=where, allowed=self._allowed, terminal=fd)
            self._known[secret.reference] = found[name]
        return self._known[secret.reference]
