"""The project's file, and who holds the host ports it fixes."""

from __future__ import annotations

import os
from collections.abc import Iterator

from devbox.doctor.finding import OK, PROBLEM, Finding, Ground, of_error
from devbox.errors import DevboxError
from devbox.host.paths import Paths
from devbox.host.ports import is_free
from devbox.host.project import identify
from devbox.isolation import state
from devbox.model.container import ContainerSpec
from devbox.model.resolved import Instance, Resolved
from devbox.plan import ports
from devbox.records.holders import who_has


def project(ground: Ground) -> Iterator[Finding]:
    """The env file is understood, and every port it fixes is free or its own."""
    if ground.project is None:
        yield Finding("project", OK, "no devbox.toml here")
        return
    root, file = ground.project
    try:
        resolved = _resolve(ground.paths, root, file)
    except DevboxError as error:
        yield of_error("project", error)
        return
    yield Finding("project", OK, f"{root}/{file}")
    for spec in resolved.containers.values():
        yield from _ports(ground, resolved.instance.id, spec)


def _ports(ground: Ground, instance: str, spec: ContainerSpec) -> Iterator[Finding]:
    now = state.read(ground.paths, instance)
    own = {each.publish.host for each in now.published} if now else set()
    for port in spec.ports:
        if port.host is None:
            continue
        if port.host in own:
            yield Finding("ports", OK, f"{port.host} is published by {spec.label}")
        elif is_free(port.address, port.host, port.protocol):
            yield Finding("ports", OK, f"{port.host}, which {spec.label} wants, is free")
        else:
            holder = who_has(ground.paths, port.address, port.host, port.protocol)
            sentence = f"{spec.where}: {ports.taken_sentence(spec, port, holder)}"
            yield Finding("ports", PROBLEM, sentence, ports.remedy(port, holder))


def _resolve(paths: Paths, root: str, file: str) -> Resolved:
    """The file as it wants things, without writing anything anywhere: credentials are left blank."""
    from devbox.envfile.load import load
    from devbox.envfile.resolve import credentials_wanted, resolve

    env = load(root, file=file)
    facts = os.stat(root)
    key = identify(paths, root, file)
    instance = Instance(id=key, name=env.name, root=root, env_file=file, owner=facts.st_uid, group=facts.st_gid)
    return resolve(env, instance=instance, credentials=dict.fromkeys(credentials_wanted(env), "-"))
