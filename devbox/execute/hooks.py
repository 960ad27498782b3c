"""Hooks: commands of the file, run on the host once the containers are up."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterable, Iterator

from devbox.envfile import secrets
from devbox.errors import DevboxError, HookFailed
from devbox.execute.events import Sink, StepLine, StepProgress
from devbox.host import disk, environ, files
from devbox.isolation.logs import Mask
from devbox.model.container import ContainerSpec
from devbox.model.host_access import HostAccess
from devbox.model.plan import Step
from devbox.model.spec import Desired, Instance
from devbox.records.instance import InstanceRecords

INSIDE = "DEVBOX_HOOK"  # set in hook processes to the instance that waits for the hook
_SHOWN = 8


class Hooks:
    """Runner of a plan's hooks. Hooks have been allowed before, and stay due until they succeed."""

    def __init__(self, desired: Desired, records: InstanceRecords, sink: Sink, *, hidden: set[str]) -> None:
        """`hidden`: secret values passed to containers, growing while the plan runs."""
        self._desired = desired
        self._records = records
        self._sink = sink
        self._hidden = hidden

    def run(self, step: Step) -> str:
        """Run a hook in the project directory without stdin; stream its output line by line."""
        hook, instance = self._desired.hooks[step.resource], self._desired.instance
        known = _find_secrets(self._desired.containers.values(), instance.root, self._desired.allowed)
        mask = Mask((*self._hidden, *known))
        shown = mask.mask_text(shlex.join(hook.command) if hook.argv else hook.command[-1])
        self._sink(StepProgress(id=step.id, text=shown))
        last: list[str] = []

        def line(text: str) -> None:
            masked = mask.mask_text(text)
            last.append(masked)
            del last[:-_SHOWN]
            self._sink(StepLine(id=step.id, text=masked))

        import signal

        from devbox.host import process

        env = environ.copy_environment() | {INSIDE: instance.id}
        code = process.stream(
            hook.command, purpose=f"run the hook {hook.name}", on_line=line, env=env, cwd=instance.root
        )
        if code == -signal.SIGINT:
            raise KeyboardInterrupt
        if code != 0:
            raise HookFailed(
                f"the hook {hook.name} failed: `{shown}` exited with code {code}; the containers are running",
                where=hook.where,
                details="\n".join(last),
                remedy="fix the hook, then run it again with: devbox up",
            )
        self._records.record_hook_done(hook.name)
        return "done"


def _find_secrets(containers: Iterable[ContainerSpec], root: str, allowed: tuple[HostAccess, ...]) -> Iterator[str]:
    """Yield the secret values that can be resolved without running a command."""
    for spec in containers:
        for name, secret in spec.secrets.items():
            if not secrets.may_prompt(secret):
                with contextlib.suppress(DevboxError):
                    yield from secrets.fetch({name: secret}, root=root, where="", allowed=allowed).values()


_SCRIPT = """\
#!/bin/sh
# A shim of devbox: {name} of {env_file}. `devbox up` writes it; it works in every directory.
{setting}exec {devbox} -f {quoted} tool {name} "$@"
"""


def refresh_shims(directory: str, instance: Instance, names: Iterable[str]) -> None:
    """Make the directory contain exactly these shims."""
    desired = set(names)
    known = set(os.listdir(directory)) if os.path.isdir(directory) else set()
    if desired:
        os.makedirs(directory, mode=0o755, exist_ok=True)
    for name in known - desired:
        os.unlink(f"{directory}/{name}")
    for name in desired:
        path, text = f"{directory}/{name}", _render_shim(name, instance)
        if name not in known or files.read_text(path) != text:
            files.write_atomic(path, text, mode=0o755)


def remove_shims(directory: str) -> None:
    """Remove all shims."""
    if os.path.isdir(directory):
        disk.remove(directory)


def _render_shim(name: str, instance: Instance) -> str:
    env_file = f"{instance.root}/{instance.env_file}"
    home = environ.get("DEVBOX_HOME")
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return _SCRIPT.format(
        name=name,
        env_file=env_file.replace("\n", " "),
        setting=f"DEVBOX_HOME={shlex.quote(home)} " if home else "",
        # A file instead of -m, which costs milliseconds per start; -P: never import modules next to it.
        devbox=shlex.join([sys.executable, "-P", f"{package}/__main__.py"]),
        quoted=shlex.quote(env_file),
    )
