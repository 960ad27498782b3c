"""What a file wants of this machine beside containers, all of it: secrets from outside, and hooks."""

from __future__ import annotations

import shlex

from devbox.envfile import secrets
from devbox.model.resolved import HOOKS, HostAccess, Resolved


def wanted(resolved: Resolved) -> tuple[HostAccess, ...]:
    """All that `devbox trust` is about, in the order of the file. Pure but for links of secrets."""
    own = tuple(
        HostAccess(
            container=HOOKS,
            variable=hook.name,
            reference=f"cmd:{shlex.join(hook.command) if hook.argv else hook.command[-1]}",
            where=hook.where,
        )
        for hook in resolved.hooks.values()
    )
    return (*secrets.host_access(resolved.containers.values(), root=resolved.instance.root), *own)


def refusal(access: HostAccess) -> str:
    """Why nothing is started: the sentence for a person."""
    if access.container == HOOKS:
        command = access.reference.partition(":")[2]
        return (
            f"the hook {access.variable} runs a command on this machine (`{command}`), which you have not allowed yet"
        )
    return (
        f"the secret {access.variable} of {access.container} comes from outside the project "
        f"({access.reference}), which you have not allowed yet"
    )
