"""Host access of a file beyond containers: external secrets and hooks."""

from __future__ import annotations

import shlex

from devbox.envfile import secrets
from devbox.model.container import Secret
from devbox.model.host_access import GateAccess, HookAccess, MetricAccess, SecretAccess
from devbox.model.spec import Spec
from devbox.model.stage import CommandGate, Stage

_SHELL = ("/bin/sh", "-c")

FileAccess = SecretAccess | HookAccess
StageAccess = SecretAccess | GateAccess | MetricAccess


def list_access(spec: Spec) -> tuple[FileAccess, ...]:
    """Return all access subject to `devbox trust`, in file order. Pure except for links of secrets."""
    own = tuple(
        HookAccess(
            name=hook.name, command=shlex.join(hook.command) if hook.argv else hook.command[-1], where=hook.where
        )
        for hook in spec.hooks.values()
    )
    containers = dict(spec.containers)
    if spec.tests is not None:
        containers.setdefault(spec.tests.container.name, spec.tests.container)
    return (*secrets.list_host_access(containers.values(), root=spec.instance.root), *own)


def list_stage_access(spec: Spec) -> tuple[StageAccess, ...]:
    """Return the host access of stages: external secrets, and commands of gates and metrics."""
    found: list[StageAccess] = []
    for stage in spec.stages.values():
        label = f"stage.{stage.name}"
        for desired in (
            _list_external(stage),
            _list_headers(stage),
            stage.secrets,
            *_list_process_secrets(spec, stage),
        ):
            found += secrets.list_outside(desired, label=label, where=stage.where, root=spec.instance.root)
        found += [
            GateAccess(stage=label, command=shlex.join(gate.run), where=stage.where)
            for gate in stage.gates
            if isinstance(gate, CommandGate)
        ]
        found += [
            MetricAccess(stage=label, command=shlex.join(metric.command), where=stage.where)
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


def _list_process_secrets(spec: Spec, stage: Stage) -> list[dict[str, Secret]]:
    """Return the secrets of each process without those overridden by the stage; names may repeat between processes."""
    processes = spec.release.get_stage_processes(stage.environment) if spec.release else {}
    return [
        {name: secret for name, secret in process.secrets.items() if name not in stage.secrets}
        for process in processes.values()
    ]


def format_command(access: GateAccess | MetricAccess) -> str:
    """Return the command of a gate or metric as written."""
    words = shlex.split(access.command)
    return words[-1] if tuple(words[:-1]) == _SHELL else access.command


def describe_refusal(access: FileAccess | StageAccess) -> str:
    """Return the user message for refused access."""
    match access:
        case SecretAccess():
            return (
                f"the secret {access.variable} of {access.container} comes from outside the project "
                f"({access.reference}), which you have not allowed yet"
            )
        case HookAccess():
            what = f"the hook {access.name} runs a command on the host (`{access.command}`)"
            return f"{what}, which you have not allowed yet"
        case GateAccess() | MetricAccess():
            what = f"a {access.kind} of [{access.stage}] runs `{format_command(access)}` on the host"
            return f"{what}, which you have not allowed yet"
