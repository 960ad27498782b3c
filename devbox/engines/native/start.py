"""Translation of start requests to launches: numeric users, binds, resolved settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from devbox.engines.engine import StartRequest
from devbox.engines.native import data_dirs, image_files, workspace_binds
from devbox.errors import EngineError
from devbox.host import files
from devbox.host.host_settings import CA_TARGET, HostSettings, collect_authorities, collect_settings
from devbox.host.paths import Paths, hash_name
from devbox.host.project import identify
from devbox.isolation import accounts, exec, idmap, state
from devbox.isolation.network import bridge
from devbox.isolation.types import (
    Bind,
    IdMap,
    Launch,
    Probe,
    ProcessSpec,
    PublishedPort,
    SecurityProfile,
    SupervisedContainer,
)
from devbox.model.container import ContainerSpec, Health, Isolation, Limits, Mount
from devbox.model.image import DEFAULT_PATH, BakedImage
from devbox.model.spec import Instance

_CLOSED_ROLES = ("service", "glue", "image")  # these roles make no use of the host's settings: none are passed in
_WITH_AGENT = ("dev", "tool", "base")  # a user's own work; debugging joins the processes of others


class LaunchBuilder:
    """Translates the start requests of one instance to launches; creates the volumes that they mount."""

    def __init__(
        self, paths: Paths, instance: Instance, *, idmap: IdMap, roots: Callable[[BakedImage], tuple[str, ...]]
    ) -> None:
        """Create the builder; `roots` returns the unpacked layer directories of an image, topmost first."""
        self._paths = paths
        self._roots = roots
        self._instance = instance
        self._idmap = idmap

    def build_supervised(self, request: StartRequest, *, lowers: tuple[str, ...], top: str) -> SupervisedContainer:
        """Build a long-running container or a job."""
        spec = request.spec
        launch = self.build_launch(request, lowers=lowers, top=top)
        command = launch.process._replace(argv=spec.supervised) if spec.supervised else None
        return SupervisedContainer(
            launch=launch,
            role=spec.role,
            image=spec.image,
            digest=request.image.digest,
            image_key=request.image.key,
            spec_key=request.spec_key,
            kind=spec.kind,
            restart=spec.restart,
            probe=_build_probe(spec.health) if spec.health else None,
            ports=tuple(
                PublishedPort(port.host, port.address, port.container, port.protocol) for port in request.ports
            ),
            command=command,
            after_setup=spec.setup is not None,
            log=self._paths.log(self._instance.id, spec.name),
            needs=spec.needs,
            schedule=spec.schedule,
            hidden=request.hidden,
        )

    def build_launch(self, request: StartRequest, *, lowers: tuple[str, ...], top: str) -> Launch:
        """Build the container itself, without its network address."""
        spec, image = request.spec, request.image.config
        passwd, group = (image_files.read(lowers, path) for path in accounts.FILES)
        account = _resolve_account(spec, passwd, group, self._idmap)
        carried = self._select_host_settings(spec)
        to_agent = self._bind_agent(spec)
        own = {"PATH": DEFAULT_PATH, "HOSTNAME": spec.name, "HOME": accounts.find_home(account.uid, passwd)}
        own |= {exec.AGENT_VARIABLE: exec.AGENT_SOCKET} if to_agent else {}
        env = own | image.env | carried.env | dict(request.env)
        argv = () if spec.idle else spec.command or (*image.entrypoint, *image.command)
        if not (argv or spec.idle):
            raise EngineError(f"missing command of {spec.label}", where=spec.where, remedy='add: command = "…"')
        return Launch(
            name=spec.name,
            oci_id=f"{self._instance.id}-{spec.name}",
            lowers=lowers,
            top=top,
            process=ProcessSpec(
                argv=argv,
                env=tuple(f"{name}={value}" for name, value in env.items()),
                cwd=spec.workdir,
                uid=account.uid,
                gid=account.gid,
                groups=account.groups,
            ),
            binds=(
                *self._build_binds(request, lowers),
                *_bind_ca(carried),
                *self._bind_git(spec, lowers),
                *to_agent,
                *self._bind_files(request.files),
            ),
            tmpfs=tuple(mount.target for mount in spec.mounts if mount.kind == "tmpfs"),
            confine=build_security_profile(spec.isolation, spec.limits),
            stop_signal=spec.stop_signal.removeprefix("SIG"),
            stop_timeout=spec.stop_timeout,
            host_ports=carried.ports,
            egress=spec.isolation.egress,
            aliases=spec.aliases,
            directories=request.image.config.volumes,
            digest=request.image.digest,
        )

    def _select_host_settings(self, spec: ContainerSpec) -> HostSettings:
        """Select the host settings for the container; a proxy or mirror would bypass an egress list."""
        if not _is_integrated(spec):
            return HostSettings({}, "")
        if spec.isolation.egress is not None:
            return collect_authorities()
        now = state.read_state_file(self._paths, self._instance.id)
        gateway = bridge.get_subnet_gateway(now.subnet if now and now.subnet else bridge.SUBNET)
        return collect_settings(gateway, direct=spec.needs)

    def _bind_agent(self, spec: ContainerSpec) -> tuple[Bind, ...]:
        """Return the bind of the caller's SSH agent; none if a running supervisor does not support it."""
        source = self._paths.agent(self._instance.id)
        if not (_is_integrated(spec) and spec.role in _WITH_AGENT and os.path.isdir(source)):
            return ()
        exec.link_agent(self._paths, self._instance.id)
        return (Bind(source, exec.AGENT_DIRECTORY, read_only=True),)

    def _bind_git(self, spec: ContainerSpec, lowers: tuple[str, ...]) -> tuple[Bind, ...]:
        """Return git's binds for a container with the project; changes are private if the project's mount is."""
        workspace = next((mount for mount in spec.mounts if mount.kind == "workspace"), None)
        if workspace is None or not _is_integrated(spec):
            return ()
        found = workspace_binds.build_git_binds(
            self._paths, self._instance, workspace.target, lowers, idmap=self._idmap
        )
        if not workspace.private:
            return found
        top = workspace.top or spec.name
        return tuple(bind if bind.read_only else self._make_private(top, bind) for bind in found)

    def _make_private(self, container: str, bind: Bind) -> Bind:
        """Redirect the bind's changes to the container's writable layer."""
        return bind._replace(top=self._paths.private_mount(self._instance.id, container, bind.target))

    def _bind_files(self, texts: Mapping[str, str]) -> tuple[Bind, ...]:
        """Return binds of texts as files. As for git's settings, the directory is closed to other users."""
        if not texts:
            return ()
        files.ensure_runtime_dir(self._paths.runtime)
        kept = files.ensure_private_dir(self._paths.supervisor_files(self._instance.id), mode=0o700)
        binds = []
        for target, text in texts.items():
            source = f"{kept}/text.{hash_name(target)}.{hash_name(text)}"
            files.write_atomic(source, text, mode=0o444)
            binds.append(Bind(source, target, read_only=True))
        return tuple(binds)

    def _build_binds(self, request: StartRequest, lowers: tuple[str, ...]) -> tuple[Bind, ...]:
        spec = request.spec
        own = [mount for mount in spec.mounts if mount.kind not in ("tmpfs", "image")]
        found = [(mount, self._build_bind(mount, lowers)) for mount in own]
        roots = (
            self._bind_image_root(mount, request.mounted_images[mount.source])
            for mount in spec.mounts
            if mount.kind == "image"
        )
        binds = (self._make_private(mount.top or spec.name, bind) if mount.private else bind for mount, bind in found)
        return (*binds, *roots, *self._protect_workspace(spec, found))

    def _protect_workspace(self, spec: ContainerSpec, found: list[tuple[Mount, Bind]]) -> Iterator[Bind]:
        """Yield the read-only binds within the workspace of an isolated container."""
        if spec.isolation.preset == "isolated":
            for mount, bind in found:
                is_root = mount.kind == "workspace" or os.path.normpath(mount.source) == self._instance.root
                if is_root and not (mount.read_only or mount.private):
                    yield from workspace_binds.build_protected_binds(self._instance, bind)

    def _bind_image_root(self, mount: Mount, image: BakedImage) -> Bind:
        """Return a bind of another image's root, below a container's remaining writable layer."""
        left = (f"{self._paths.writable_layer(self._instance.id, mount.top)}/upper",) if mount.top else ()
        return Bind("", mount.target, read_only=True, lowers=(*left, *self._roots(image)))

    def _build_bind(self, mount: Mount, lowers: tuple[str, ...]) -> Bind:
        if mount.kind == "volume":
            source = data_dirs.ensure_volume(
                self._paths, self._instance.id, mount.source, target=mount.target, lowers=lowers, idmap=self._idmap
            )
            return Bind(source, mount.target, read_only=mount.read_only)
        if mount.kind == "cache":
            from devbox.images.bake.steps import make_cache

            project = identify(self._paths, self._instance.root, self._instance.env_file)
            source = self._paths.command_cache(project, mount.source)
            make_cache(source)
            return Bind(source, mount.target, owner=0, group=0)
        if mount.kind == "scratch":
            return Bind(mount.source, mount.target, owner=0, group=0)
        if mount.kind == "control":
            if not self._idmap.rootless:
                os.chown(mount.source, self._idmap.uids[0].outside, self._idmap.gids[0].outside)
            return Bind(mount.source, mount.target)
        if not os.path.exists(mount.source):
            raise EngineError(
                f"cannot mount {mount.source} at {mount.target}: not found",
                remedy=f"mkdir {mount.source}, or remove it from the mounts of the env file",
            )
        bind = Bind(mount.source, mount.target, read_only=mount.read_only, within=self._instance.root)
        if self._idmap.rootless:
            return bind
        return bind._replace(owner=self._instance.owner, group=self._instance.group)


def _is_integrated(spec: ContainerSpec) -> bool:
    return spec.isolation.preset == "integrated" and spec.role not in _CLOSED_ROLES


def build_security_profile(isolation: Isolation, limits: Limits) -> SecurityProfile:
    """Build the security profile of a container."""
    names = isolation.capabilities
    return SecurityProfile(
        add_capabilities=tuple(name for name in names if not name.startswith("-")),
        read_only=isolation.read_only,
        memory=limits.memory,
        cpus=limits.cpus,
        pids=limits.pids,
        drop_capabilities=tuple(name[1:] for name in names if name.startswith("-")),
    )


def _resolve_account(spec: ContainerSpec, passwd: str, group: str, ids: IdMap) -> accounts.Account:
    """Return the container's user, resolved by its image's account files."""
    try:
        account = accounts.find(spec.user, passwd, group)
        idmap.check_ids(ids, account.uid, account.gid)
    except EngineError as error:
        error.where = spec.where
        raise
    return account


def _bind_ca(carried: HostSettings) -> tuple[Bind, ...]:
    return (Bind(carried.ca_file, CA_TARGET, read_only=True),) if carried.ca_file else ()


def _build_probe(health: Health) -> Probe:
    return Probe(
        argv=health.command,
        http=health.http,
        port=health.port,
        interval=health.interval,
        timeout=health.timeout,
        retries=health.retries,
        start_period=health.start_period,
    )
