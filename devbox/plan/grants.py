"""Grants of an env file to its containers, and their comparison with the accepted grants. Pure.

An isolated container can write to its project. Its changes to the env file, the local override or recipes must not
loosen its isolation at the next `up`: grants beyond the accepted ones require `devbox trust`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import replace

from devbox.model.container import EVERY, ContainerSpec, Grant, Limits, Mount, Secret
from devbox.model.image import FromRegistry, ImageSpec, Run
from devbox.model.release import Process
from devbox.model.spec import Spec
from devbox.model.stage import Stage

_ALL = "-ALL"
_OF_IMAGES = ("run", "image")
_OF_PROGRAMS = (*_OF_IMAGES, "command", "variable")
_BY_VARS = " by other vars"
_RUNS_THE_PROJECT = ("dev", "test", "build")  # roles that always run the project's own code
_WITHOUT_HOST_SETTINGS = ("service", "glue", "image")  # roles that never get host settings, whatever their preset
# Docker's default set: the capabilities of a container that names none.
_DEFAULT = (
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"),
    *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
)


def is_closed(spec: Spec) -> bool:
    """True if a container with write access to the project is isolated, without network or limited in its egress."""
    return any(_is_closed(container, spec.instance.root) for container in _list_containers(spec))


def list_grants(spec: Spec) -> tuple[Grant, ...]:
    """Return all grants of the file, in file order."""
    found = [grant for container in _list_containers(spec) for grant in _list_container_grants(container)]
    found += [grant for name, image in spec.images.items() for grant in _list_image_grants(name, image)]
    found += [
        grant
        for name, process in _list_processes(spec)
        for grant in _list_secret_grants(name, process.secrets.values())
    ]
    found += [grant for stage in spec.stages.values() for grant in _list_stage_grants(stage)]
    return tuple(dict.fromkeys(found))


def find_added(found: Iterable[Grant], accepted: Iterable[Grant]) -> tuple[Grant, ...]:
    """Return the grants that are not covered by an accepted one."""
    accepted = tuple(accepted)
    return tuple(grant for grant in found if not any(map(grant.is_covered_by, accepted)))


def find_loosened(found: Iterable[Grant], accepted: Iterable[Grant]) -> tuple[Grant, ...]:
    """Return the grants by other vars (a matrix cell, a stage) beyond the accepted ones.

    Images and commands are exempt: they may differ between the cells of a matrix.
    """
    plain = [*accepted]
    plain += [replace(grant, subject=grant.subject.removesuffix(_BY_VARS)) for grant in plain]
    return find_added((grant for grant in found if grant.kind not in _OF_PROGRAMS), plain)


def mark_by_vars(found: Iterable[Grant]) -> tuple[Grant, ...]:
    """Mark grants by other vars, which are recorded separately from the file's own and not narrowed with them."""
    return tuple(replace(grant, subject=f"{grant.subject}{_BY_VARS}") for grant in found)


def narrow(found: Iterable[Grant], accepted: Iterable[Grant]) -> tuple[Grant, ...]:
    """Return the new accepted grants: those of `found`, plus the accepted ones of subjects no longer in the file.

    Image sources stay accepted: matrix cells use others than `up`.
    """
    found = tuple(found)
    subjects = {grant.subject for grant in found}
    kept = (grant for grant in accepted if grant.subject not in subjects or grant.kind in _OF_IMAGES)
    return tuple(dict.fromkeys((*found, *kept)))


def describe(found: Iterable[Grant]) -> tuple[str, ...]:
    """Describe grants, one line per subject: `dev: the network project, connections to every host`."""
    subjects: dict[str, list[Grant]] = {}
    for grant in found:
        subjects.setdefault(grant.subject, []).append(grant)
    return tuple(f"{subject}: {', '.join(_list_texts(own))}" for subject, own in subjects.items())


def _list_texts(found: list[Grant]) -> Iterator[str]:
    names = [grant.text for grant in found if grant.kind == "capability"]
    yield from (grant.text for grant in found if grant.kind != "capability")
    if set(names) >= set(_DEFAULT):
        yield "Docker's default capabilities"
        names = [name for name in names if name not in _DEFAULT]
    if names:
        yield f"the capabilities {' '.join(names)}"


def _list_containers(spec: Spec) -> Iterator[ContainerSpec]:
    yield from spec.containers.values()
    if spec.tests is not None:
        yield spec.tests.container
    if spec.build is not None:
        yield spec.build.container


def _is_closed(spec: ContainerSpec, root: str) -> bool:
    isolation = spec.isolation
    closed = isolation.preset == "isolated" or isolation.egress is not None or isolation.network == "none"
    return closed and any(_is_project(mount, root) for mount in spec.mounts)


def _is_project(mount: Mount, root: str) -> bool:
    """True if project files are writable through the mount."""
    inside = mount.kind == "bind" and f"{mount.source}/".startswith(f"{root.rstrip('/')}/")
    return (mount.kind == "workspace" or inside) and not mount.read_only


def _list_container_grants(spec: ContainerSpec) -> Iterator[Grant]:
    isolation = spec.isolation

    def grant(kind: str, value: str = "") -> Grant:
        return Grant(subject=spec.label, kind=kind, value=value, where=spec.where)

    if isolation.preset != "isolated" and spec.role not in _WITHOUT_HOST_SETTINGS:
        yield grant("preset", isolation.preset)
    if isolation.network != "none":
        yield grant("network", isolation.network)
        yield from (grant("egress", host) for host in ((EVERY,) if isolation.egress is None else isolation.egress))
    yield from (grant("capability", name) for name in _list_capabilities(isolation.capabilities))
    if not isolation.read_only:
        yield grant("root")
    yield from (grant("mount", _describe_mount(mount)) for mount in spec.mounts if mount.kind != "tmpfs")
    fixed = (port for port in spec.ports if port.host is not None)
    yield from (grant("port", f"{port.address}:{port.host}/{port.protocol}") for port in fixed)
    yield from (grant("secret", secret.reference) for secret in spec.secrets.values())
    if isolation.network != "none" and spec.role not in _RUNS_THE_PROJECT:
        yield from _list_program_grants(spec)
    yield from _list_limit_grants(spec, spec.limits)


def _list_program_grants(spec: ContainerSpec) -> Iterator[Grant]:
    """Yield the programs of a container with a network: their author can reach the network through them.

    Variables are recorded by name, since their values may be secret.
    """
    health = spec.health.command if spec.health else ()
    setup = spec.setup.commands if spec.setup else ()
    for command in (spec.command, spec.supervised, health, *setup):
        if command:
            text = command if isinstance(command, str) else shlex.join(command)
            yield Grant(subject=spec.label, kind="command", value=text, where=spec.where)
    for name in spec.env:
        yield Grant(subject=spec.label, kind="variable", value=name, where=spec.where)


def _list_image_grants(name: str, image: ImageSpec) -> Iterator[Grant]:
    subject = f"image {name}"
    for step in image.steps:
        if isinstance(step, FromRegistry):
            yield Grant(subject=subject, kind="image", value=step.reference)
        if isinstance(step, Run):
            written = (command if isinstance(command, str) else " ".join(command) for command in step.commands)
            yield from (Grant(subject=subject, kind="run", value=text) for text in written)


def _list_processes(spec: Spec) -> Iterator[tuple[str, Process]]:
    """Yield the processes of releases, including those with variables per stage."""
    if spec.release:
        for processes in (spec.release.processes, *spec.release.stages.values()):
            yield from ((f"image.process.{name}", process) for name, process in processes.items())


def _list_secret_grants(subject: str, secrets: Iterable[Secret]) -> Iterator[Grant]:
    return (Grant(subject=subject, kind="secret", value=secret.reference) for secret in secrets)


def _list_limit_grants(spec: ContainerSpec, limits: Limits) -> Iterator[Grant]:
    for kind, value in (("memory", limits.memory), ("cpus", limits.cpus), ("pids", limits.pids)):
        yield Grant(subject=spec.label, kind=kind, value=EVERY if value is None else str(value), where=spec.where)


def _list_capabilities(names: tuple[str, ...]) -> list[str]:
    dropped = {name.removeprefix("-") for name in names if name.startswith("-")}
    own = () if _ALL in names else (name for name in _DEFAULT if name not in dropped)
    return sorted({*own, *(name for name in names if not name.startswith("-"))})


def _describe_mount(mount: Mount) -> str:
    """Return the value of a mount grant; read-only and writable mounts of a source differ."""
    what = "the project" if mount.kind == "workspace" else f"the {mount.kind} {mount.source}"
    return f"{what} {'read-only' if mount.read_only else 'writable'}"


def _list_stage_grants(stage: Stage) -> Iterator[Grant]:
    outside = (reference for variables in stage.external.values() for reference in variables.values())
    own: Iterable[Secret] = stage.secrets.values()
    for reference in (*outside, *(secret.reference for secret in own)):
        yield Grant(subject=f"stage.{stage.name}", kind="secret", value=reference, where=stage.where)
    for port in stage.publish:
        value = f"{port.address}:{port.host}/{port.protocol}"
        yield Grant(subject=f"stage.{stage.name}", kind="port", value=value, where=stage.where)
