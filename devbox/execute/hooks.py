"""Hooks: the file's commands on this machine, once its containers stand."""

from __future__ import annotations

import contextlib
import shlex
import signal
from collections.abc import Iterable, Iterator

from devbox.envfile import secrets
from devbox.errors import DevboxError, HookFailed
from devbox.execute.events import Sink, StepLine, StepProgress
from devbox.host import environ, process
from devbox.isolation.masking import Mask
from devbox.model.container import ContainerSpec
from devbox.model.plan import Step
from devbox.model.resolved import HostAccess, Resolved
from devbox.records.instance import InstanceRecords

INSIDE = "DEVBOX_HOOK"  # set for what a hook starts: the instance that waits for it
_SHOWN = 8


class Hooks:
    """Runs the hooks of a plan. They were allowed before, and are owed until they succeed."""

    def __init__(self, resolved: Resolved, records: InstanceRecords, sink: Sink, *, hidden: set[str]) -> None:
        """`hidden`: values that containers were given and nobody is to see, growing while the plan runs."""
        self._resolved = resolved
        self._records = records
        self._sink = sink
        self._hidden = hidden

    def run(self, step: Step) -> str:
        """Run one in the project directory, without input, its output line by line to the watcher."""
        hook, instance = self._resolved.hooks[step.resource], self._resolved.instance
        known = _known_secrets(self._resolved.containers.values(), instance.root, self._resolved.allowed)
        mask = Mask((*self._hidden, *known))
        shown = mask.text(shlex.join(hook.command) if hook.argv else hook.command[-1])
        self._sink(StepProgress(id=step.id, text=shown))
        last: list[str] = []

        def line(text: str) -> None:
            masked = mask.text(text)
            last.append(masked)
            del last[:-_SHOWN]
            self._sink(StepLine(id=step.id, text=masked))

        env = environ.snapshot() | {INSIDE: instance.id}
        code = process.stream(
            hook.command, purpose=f"run the hook {hook.name}", on_line=line, env=env, cwd=instance.root
        )
        if code == -signal.SIGINT:
            raise KeyboardInterrupt
        if code != 0:
            raise HookFailed(
                f"the hook {hook.name} failed: `{shown}` ended with {code}; the containers are up",
                where=hook.where,
                details="\n".join(last),
                remedy="mend it; `devbox up` runs it again",
            )
        self._records.hook_done(hook.name)
        return "done"


def _known_secrets(containers: Iterable[ContainerSpec], root: str, allowed: tuple[HostAccess, ...]) -> Iterator[str]:
    """The values of what can be looked up without running anything."""
    for spec in containers:
        for name, secret in spec.secrets.items():
            if not secret.reference.startswith("cmd:"):
                with contextlib.suppress(DevboxError):
                    yield from secrets.fetch({name: secret}, root=root, where="", allowed=allowed).values()
