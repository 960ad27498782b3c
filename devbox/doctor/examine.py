"""`devbox doctor`: checks of programs and of the project, and the list of all checks in output order."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator

from devbox.doctor import host, leftovers, storage
from devbox.doctor.checks import OK, PROBLEM, WARNING, CheckContext, CheckResult, convert_error
from devbox.errors import DevboxError, HostError
from devbox.host.paths import Paths
from devbox.host.ports import is_free
from devbox.host.programs import find
from devbox.host.project import identify
from devbox.images.bake import bootstrap
from devbox.isolation import namespaces, state
from devbox.model.container import ContainerSpec
from devbox.model.spec import Instance, Spec
from devbox.plan import ports
from devbox.records.projects import find_port_holder


def check_project(context: CheckContext) -> Iterator[CheckResult]:
    """Check that the env file is valid, and that its fixed ports are free or its own."""
    if context.project is None:
        yield CheckResult("project", OK, "devbox.toml not found")
        return
    root, file = context.project
    try:
        resolved = _resolve(context.paths, root, file)
    except DevboxError as error:
        yield convert_error("project", error)
        return
    yield CheckResult("project", OK, f"{root}/{file}")
    for spec in resolved.containers.values():
        yield from _check_ports(context, resolved.instance.id, spec)


def _check_ports(context: CheckContext, instance: str, spec: ContainerSpec) -> Iterator[CheckResult]:
    now = state.read_state_file(context.paths, instance)
    own = {each.publish.host for each in now.published} if now else set()
    for port in spec.ports:
        if port.host is None:
            continue
        if port.host in own:
            yield CheckResult("ports", OK, f"{port.host} is published by {spec.label}")
        elif is_free(port.address, port.host, port.protocol):
            yield CheckResult("ports", OK, f"{port.host}, required by {spec.label}, is free")
        else:
            holder = find_port_holder(context.paths, port.address, port.host, port.protocol)
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


_ALWAYS = ("pasta", "nft", "mmdebstrap", "catatonit")
_SOMETIMES = {"buildah": "required for images from Dockerfiles"}
_ROOTLESS = ("newuidmap", "newgidmap")


def check_programs(context: CheckContext) -> Iterator[CheckResult]:
    """Check each program; the remedy is its package."""
    for name in (*_ALWAYS, *(_ROOTLESS if context.is_rootless else ())):
        try:
            path = find(name)
        except HostError as error:
            yield convert_error(name, error)
            continue
        if name in _ROOTLESS and not _can_map(path):
            sentence = f"missing permission of {path} to map ids (set-uid, or file capabilities)"
            yield CheckResult(name, PROBLEM, sentence, f"sudo chmod u+s {path}")
        else:
            yield CheckResult(name, OK, path)


def check_optional(_context: CheckContext) -> Iterator[CheckResult]:
    """Check the programs needed by some env files only."""
    for name, why in _SOMETIMES.items():
        try:
            yield CheckResult(name, OK, find(name))
        except HostError as error:
            yield CheckResult(name, WARNING, f"{error.sentence}; {why}", error.remedy)


def check_oci_runtime(_context: CheckContext) -> Iterator[CheckResult]:
    """Check the OCI runtime: crun, runc, or $DEVBOX_RUNTIME."""
    try:
        path = namespaces.check_runtime()
    except HostError as error:
        yield convert_error("OCI runtime", error)
    else:
        yield CheckResult("OCI runtime", OK, path)


def check_keyrings(_context: CheckContext) -> Iterator[CheckResult]:
    """Check the keyrings for signed packages: Debian for most base systems, Ubuntu for some."""
    for distribution, severity in (("debian", PROBLEM), ("ubuntu", WARNING)):
        try:
            yield CheckResult("package keys", OK, f"{distribution}: {bootstrap.require_keyring(distribution)}")
        except HostError as error:
            yield convert_error("package keys", error, state=severity)


def _can_map(path: str) -> bool:
    if os.stat(path).st_mode & stat.S_ISUID:
        return True
    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError:
        return False


PACKAGE_CHECKS = (check_programs, check_optional, check_oci_runtime, check_keyrings)

CHECKS: tuple[Callable[[CheckContext], Iterator[CheckResult]], ...] = (
    host.check_version,
    host.check_user_namespaces,
    host.check_overlay,
    host.check_idmapped_mounts,
    host.check_seccomp,
    host.check_control_groups,
    host.check_tun,
    host.check_bridge_filter,
    check_programs,
    check_optional,
    check_oci_runtime,
    check_keyrings,
    storage.check_home,
    storage.check_host_key,
    storage.check_disk,
    storage.check_runtime_state,
    storage.check_subordinate_ids,
    host.check_mirrors,
    host.check_host_settings,
    check_project,
    leftovers.check_leftovers,
)


def examine(context: CheckContext) -> Iterator[CheckResult]:
    """Run all checks. A check that fails is reported as a problem, and the others continue."""
    for check in CHECKS:
        name = check.__name__.removeprefix("check_").replace("_", " ")
        try:
            yield from check(context)
        except DevboxError as error:
            yield CheckResult(name, PROBLEM, error.sentence, error.remedy)
        except Exception as error:  # noqa: BLE001 - a crashing check must not end the examination
            yield CheckResult(
                name, PROBLEM, f"check failed: {error}", "show the traceback with: DEVBOX_DEBUG=1 devbox up"
            )
