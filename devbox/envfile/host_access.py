"""Host access of a file beyond containers: external secrets and hooks."""

from __future__ import annotations

import shlex

from devbox.envfile import secrets
from devbox.model.container import Secret
from devbox.model.spec import GATE, HOOKS, METRIC, HostAccess, Spec
from devbox.model.stage import CommandGate, Stage

_SHELL = ("/bin/sh", "-c")


def list_access(resolved: Spec) -> tuple[HostAccess, ...]:
    """Return all access subject to `devbox trust`, in file order. Pure except for links of secrets."""
    own = tuple(
        HostAccess(
            container=HOOKS,
            variable=hook.name,
            reference=f"cmd:{shlex.join(hook.command) if hook.argv else hook.command[-1]}",
            where=hook.where,
        )
        for hook in resolved.hooks.values()
    )
    containers = dict(resolved.containers)
    if resolved.tests is not None:
        containers.setdefault(resolved.tests.container.name, resolved.tests.container)
    return (*secrets.list_host_access(containers.values(), root=resolved.instance.root), *own)


def list_stage_access(resolved: Spec) -> tuple[HostAccess, ...]:
    """Return the host access of stages: external secrets, and commands of gates and metrics."""
    found: list[HostAccess] = []
    for stage in resolved.stages.values():
        label = f"stage.{stage.name}"
        for wanted in (
            _list_external(stage),
            _list_headers(stage),
            stage.secrets,
            *_list_process_secrets(resolved, stage),
        ):
            found += secrets.list_outside(wanted, label=label, where=stage.where, root=resolved.instance.root)
        found += [
            HostAccess(container=label, variable=GATE, reference=f"cmd:{shlex.join(gate.run)}", where=stage.where)
            for gate in stage.gates
            if isinstance(gate, CommandGate)
        ]
        found += [
            HostAccess(
                container=label, variable=METRIC, reference=f"cmd:{shlex.join(metric.command)}", where=stage.where
            )
            for metric in stage.strategy.outside
            if metric.command
        ]
    return tuple(dict.fromkeys(found))


def _list_external(stage: Stage) -> dict[str, Secret]:
    return {
        f"{need}.{name}": Secret(reference=place)
        for need, variables in stage.external.items()
        for name, place in variables.items()
    }


def _list_headers(stage: Stage) -> dict[str, Secret]:
    """Return the authorization headers of metric servers."""
    known = (each for each in stage.strategy.outside if each.authorization)
    return {f"{each.name}.authorization": Secret(reference=each.authorization) for each in known}


def _list_process_secrets(resolved: Spec, stage: Stage) -> list[dict[str, Secret]]:
    """Return the secrets of each process without those overridden by the stage; names may repeat between processes."""
    processes = resolved.release.get_stage_processes(stage.environment) if resolved.release else {}
    return [
        {name: secret for name, secret in process.secrets.items() if name not in stage.secrets}
        for process in processes.values()
    ]


def format_command(access: HostAccess) -> str:
    """Return the command of a gate or metric as written."""
    text = access.reference.partition(":")[2]
    words = shlex.split(text)
    return words[-1] if tuple(words[:-1]) == _SHELL else text


def describe_refusal(access: HostAccess) -> str:
    """Return the user message for refused access."""
    if access.container == HOOKS:
        command = access.reference.partition(":")[2]
        return f"the hook {access.variable} runs a command on the host (`{command}`), which you have not allowed yet"
    if access.variable in (GATE, METRIC):
        return (
            f"a {access.variable} of [{access.container}] runs `{format_command(access)}` on the host, "
            "which you have not allowed yet"
        )
    return (
        f"the secret {access.variable} of {access.container} comes from outside the project "
        f"({access.reference}), which you have not allowed yet"
    )
