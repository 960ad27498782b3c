"""The verb that looks into a running container with another one's programs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping

from devbox.errors import CannotRun
from devbox.execute.events import Sink
from devbox.images import gate
from devbox.model.resolved import Resolved
from devbox.opened import Project, carry_out, check_grants, check_names, exclusive, fixed, load, look
from devbox.plan import debugging
from devbox.plan import diff as differ
from devbox.plan.debugging import Wanted


def debug(
    opened: Project, target: str, wanted: Wanted, sink: Sink, *, env: Mapping[str, str], tty: bool = False
) -> int:
    """Run a one-shot container that shares the namespaces of `target`, whose files lie below /proc/1/root; its code.

    CannotRun where the target does not run.
    """
    from devbox.execute.actions import request
    from devbox.execute.asking import Secrets

    with contextlib.ExitStack() as lease:
        with exclusive(opened, sink):
            resolved = load(opened)
            check_grants(opened, resolved)
            resolved, image = _with_image(opened, resolved, wanted)
            spec = debugging.spec(f"debug-{os.getpid()}", image, debugging.argv(resolved, wanted), env)
            observed = look(opened, resolved)
            seen = observed.containers.get(target)
            if seen is None:
                check_names(resolved, (target,))
            if seen is None or seen.pid is None:
                known = ", ".join(name for name, each in observed.containers.items() if each.pid) or "nothing"
                raise CannotRun(f"{target} is not running", remedy=f"up are: {known}; devbox up {target}")
            if image not in observed.baked:
                opened.store.sweep()
                resolved = carry_out(opened, differ.bakes(resolved, (image,)), resolved, observed, sink)
            asked = request(spec, resolved, observed, opened.store, Secrets(resolved))
            started = dataclasses.replace(asked, joins=target)
            lease.enter_context(gate.leased(opened.paths, started.image.key))
        return opened.engine.run_once(resolved.instance, started, tty=tty)


def _with_image(opened: Project, resolved: Resolved, wanted: Wanted) -> tuple[Resolved, str]:
    """The file, and the image that debugs in it: one of its own, or one beside it, of the same base as the lock has."""
    from devbox.envfile import beside
    from devbox.execute.locks import Locks

    name, table = debugging.image(resolved, wanted)
    if table is not None:
        images = resolved.images | {name: beside.image(name, table, root=opened.root)}
        resolved = Locks(resolved.instance).apply(dataclasses.replace(resolved, images=images))
    return fixed(opened, resolved, locked=False), name
