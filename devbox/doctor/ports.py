"""The project's file, and the holders of its fixed host ports."""

from __future__ import annotations

import os
from collections.abc import Iterator

from devbox.doctor.checks import OK, PROBLEM, CheckContext, CheckResult, convert_error
from devbox.errors import DevboxError
from devbox.host.paths import Paths
from devbox.host.ports import is_free
from devbox.host.project import identify
from devbox.isolation import state
from devbox.model.container import ContainerSpec
from devbox.model.spec import Instance, Spec
from devbox.plan import ports
from devbox.records.projects import find_port_holder


def check_project(ground: CheckContext) -> Iterator[CheckResult]:
    """Check that the env file is valid, and that its fixed ports are free or its own."""
    if ground.project is None:
        yield CheckResult("project", OK, "devbox.toml not found")
        return
    root, file = ground.project
    try:
        resolved = _resolve(ground.paths, root, file)
    except DevboxError as error:
        yield convert_error("project", error)
        return
    yield CheckResult("project", OK, f"{root}/{file}")
    for spec in resolved.containers.values():
        yield from _check_ports(ground, resolved.instance.id, spec)


def _check_ports(ground: CheckContext, instance: str, spec: ContainerSpec) -> Iterator[CheckResult]:
    now = state.read_state_file(ground.paths, instance)
    own = {each.publish.host for each in now.published} if now else set()
    for port in spec.ports:
        if port.host is None:
            continue
        if port.host in own:
            yield CheckResult("ports", OK, f"{port.host} is published by {spec.label}")
        elif is_free(port.address, port.host, port.protocol):
            yield CheckResult("ports", OK, f"{port.host}, required by {spec.label}, is free")
        else:
            holder = find_port_holder(ground.paths, port.address, port.host, port.protocol)
            sentence = f"{spec.where}: {ports.describe_taken(spec, port, holder)}"
            yield CheckResult("ports", PROBLEM, sentence, ports.suggest_remedy(port, holder))


def _resolve(paths: Paths, root: str, file: str) -> Spec:
    """Return the spec of the file without writing anything; credentials are blank."""
    from devbox.envfile.expand import list_credentials, resolve
    from devbox.envfile.load import load

    env = load(root, file=file)
    facts = os.stat(root)
    key = identify(paths, root, file)
    instance = Instance(id=key, name=env.name, root=root, env_file=file, owner=facts.st_uid, group=facts.st_gid)
    return resolve(env, instance=instance, credentials=dict.fromkeys(list_credentials(env), "-"))
