"""The native engine: containers on this host through the isolation core, a supervisor per instance, no daemon.

Imports needed only for changes are inside methods: an `up` without changes uses only `observe`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from devbox.engines.engine import InstanceView, LogLine, StartRequest
from devbox.engines.native import data_dirs, observe
from devbox.engines.native.data_dirs import WritableLayers
from devbox.errors import SIGNALED
from devbox.host import files
from devbox.host.paths import Paths
from devbox.isolation import logs, state
from devbox.isolation.exec import read_entry
from devbox.isolation.types import IdMap, Launch, ProcessRef, PublishedPort, pack
from devbox.model.image import BakedImage
from devbox.model.observed import BoundPort, ObservedContainer
from devbox.model.spec import Instance

if TYPE_CHECKING:
    from devbox.engines.native.snapshots import NativeSnapshots
    from devbox.engines.native.start import LaunchBuilder

_SETUP_VARIABLE = "DEVBOX_SETUP"  # identifies one command of a setup in its environment


class NativeEngine:
    """Implements `engines.engine.Engine` with a supervisor per instance."""

    name = "native"
    has_egress_lists = True
    holds_sockets = True

    def __init__(self, paths: Paths, lowers: Callable[[BakedImage], tuple[str, ...]]) -> None:
        """Create the engine; `lowers` returns the unpacked layer directories of an image, topmost first."""
        self._paths = paths
        self._lowers = lowers

    @property
    def has_limits(self) -> bool:
        """See `LimitCheck`."""
        from devbox.isolation import cgroups

        return cgroups.detect() != "none"

    def check_network(self) -> None:
        """See `Engine`."""
        from devbox.isolation import namespaces
        from devbox.isolation.network import egress

        namespaces.check_host(self._paths)
        egress.require_tun()

    def observe(self, instance: Instance) -> InstanceView:
        """See `Engine`."""
        supervised, now = state.read_state(self._paths, instance.id)
        if supervised and now is not None and now.ending:  # an interrupted `down`: await its end
            from devbox.engines.native import takedown

            takedown.await_exit(now.supervisor)
            supervised, now = state.read_state(self._paths, instance.id)
        tops = WritableLayers(self._paths, instance.id).list_kept()
        volumes = data_dirs.list_volumes(self._paths, instance.id)
        standing = os.path.isdir(self._paths.instance_runtime(instance.id))
        return observe.build_view(
            now,
            supervised=supervised,
            standing=standing,
            adoptable=not supervised and now is not None and state.has_namespaces(now),
            tops=tops,
            volumes=volumes,
        )

    def ensure_network(
        self, instance: Instance, *, published: Mapping[str, tuple[BoundPort, ...]], names: tuple[str, ...]
    ) -> tuple[str, ...]:
        """See `Engine`."""
        from devbox.isolation import namespaces

        namespaces.check_host(self._paths)
        desired = [
            {"name": name, "publish": pack(PublishedPort(port.host, port.address, port.container, port.protocol))}
            for name, ports in published.items()
            for port in ports
        ]
        answer = self._request(instance, "network", network={"names": list(names), "published": desired})
        return tuple(answer.get("warnings", ()))

    def start(self, instance: Instance, request: StartRequest) -> None:
        """See `Engine`."""
        from devbox.isolation.idmap import load_store_map

        spec = request.spec
        if self._is_running(instance, request):
            return
        idmap = load_store_map(self._paths)
        top = WritableLayers(self._paths, instance.id).prepare(
            spec.name, image_key=request.image.key, keep=spec.keep_top, idmap=idmap
        )
        starter = self._create_launch_builder(instance, idmap)
        item = starter.build_supervised(request, lowers=self._lowers(request.image), top=top)
        # `listens` is separate: a supervisor of an earlier version ignores it.
        more = {"listens": list(request.listens)} if request.listens else {}
        self._request(instance, "start", item=pack(item), connected=spec.isolation.network != "none", **more)

    def wait_ready(self, instance: Instance, name: str) -> ObservedContainer:
        """See `Engine`."""
        answer = self._request(instance, "wait", name=name)
        return observe.build_container(
            state.load_container_state(answer["row"]), WritableLayers(self._paths, instance.id).list_kept()
        )

    def begin_setup(self, instance: Instance, name: str) -> None:
        """See `Engine`."""
        from devbox.isolation.supervisor import orphans

        running = self._get_setup_file(instance, name)
        if interrupted := files.read_text(running):
            pid = int(read_entry(self._paths.entry_file(instance.id, name), name)["pid"])
            orphans.kill_marked(self._paths.instance_runtime(instance.id), pid, f"{_SETUP_VARIABLE}={interrupted}")
            os.unlink(running)

    def run_setup(self, instance: Instance, name: str, argv: tuple[str, ...], *, on_line: Callable[[str], None]) -> int:
        """See `Engine`."""
        read_entry(self._paths.entry_file(instance.id, name), name)  # CannotRun if the container is not running
        running, mark = self._get_setup_file(instance, name), os.urandom(8).hex()
        files.write_atomic(running, mark, mode=0o600)
        code = self._run_captured(instance, name, argv, env={}, on_line=on_line, marks={_SETUP_VARIABLE: mark})
        if code < SIGNALED:  # after a signal to its process group, a part of the command may still run
            with contextlib.suppress(FileNotFoundError):  # the container has been restarted
                os.unlink(running)
        return code

    def complete_setup(self, instance: Instance, name: str, *, setup_key: str) -> None:
        """See `Engine`."""
        self._request(instance, "setup_done", name=name)  # first: a setup on record is not run again
        WritableLayers(self._paths, instance.id).record_setup(name, setup_key)

    def verify_image(self, instance: Instance, name: str) -> str:
        """See `Engine`."""
        from devbox.engines.native import image_files

        return image_files.verify_image(self._paths, instance.id, name)

    def set_sidecar(self, instance: Instance, argv: tuple[str, ...]) -> None:
        """See `Engine`."""
        self._request(instance, "accompany", argv=list(argv))

    def rerun(self, instance: Instance, name: str) -> None:
        """See `Engine`."""
        self._request(instance, "rerun", name=name)

    def relabel(self, instance: Instance, name: str, *, image_key: str) -> None:
        """See `Engine`."""
        WritableLayers(self._paths, instance.id).relabel(name, image_key)
        self._request(instance, "relabel", name=name, image_key=image_key)

    def signal(self, instance: Instance, name: str, signal: str) -> None:
        """See `Engine`."""
        self._request(instance, "signal", name=name, signal=signal)

    def stop(self, instance: Instance, name: str, *, timeout: float | None = None) -> None:
        """See `Engine`."""
        if state.read_state_file(self._paths, instance.id) is not None:
            self._request(instance, "stop", name=name, timeout=timeout)

    def remove(self, instance: Instance, name: str, *, keep_top: bool = False) -> None:
        """See `Engine`."""
        if state.read_state_file(self._paths, instance.id) is None:
            return
        self._request(instance, "remove", name=name)
        if not keep_top:
            from devbox.isolation.idmap import load_store_map

            idmap = load_store_map(self._paths)
            WritableLayers(self._paths, instance.id).remove(name, idmap=idmap)

    def exec(
        self,
        instance: Instance,
        name: str,
        argv: tuple[str, ...],
        *,
        tty: bool = False,
        env: Mapping[str, str],
        on_line: Callable[[str], None] | None = None,
    ) -> int:
        """See `Engine`."""
        from devbox.isolation.exec import run_in_container

        if on_line is not None:
            return self._run_captured(instance, name, argv, env=env, on_line=on_line)
        return run_in_container(self._paths, instance.id, name, argv, tty=tty, env=env)

    def run_once(self, instance: Instance, request: StartRequest, *, tty: bool) -> int:
        """See `Engine`."""
        from devbox.isolation import oneshot
        from devbox.isolation.idmap import load_store_map

        idmap = load_store_map(self._paths)
        top = WritableLayers(self._paths, instance.id).prepare(
            request.spec.name, image_key=request.image.key, keep=False, idmap=idmap
        )
        starter = self._create_launch_builder(instance, idmap)
        launch = starter.build_launch(request, lowers=self._lowers(request.image), top=top)
        if tty:
            columns, rows = oneshot.get_terminal_size()
            launch = launch._replace(process=launch.process._replace(tty=True, rows=rows, columns=columns))
        if request.joins:
            return oneshot.run(
                self._paths, instance.id, self._join_container(instance, request, launch), connected=False
            )
        return oneshot.run(self._paths, instance.id, launch, connected=request.spec.isolation.network != "none")

    def read_logs(
        self, instance: Instance, names: tuple[str, ...], *, follow: bool, tail: int | None
    ) -> Iterator[LogLine]:
        """See `Engine`."""
        written = {name: self._paths.log(instance.id, name) for name in names}
        for container, at, text in logs.read(written, tail=tail, follow=follow):
            yield LogLine(container=container, at=at, text=text)

    def count_oom_kills(self, instance: Instance, name: str) -> int:
        """See `Engine`."""
        from devbox.isolation import cgroups

        now = state.read_state(self._paths, instance.id)[1]
        return cgroups.count_oom_kills(now.group, name) if now and now.group else 0

    def open_snapshots(self, instance: Instance, *, kept_by: str = "") -> NativeSnapshots:
        """See `Engine`."""
        from devbox.engines.native.snapshots import NativeSnapshots

        return NativeSnapshots(self._paths, instance.id, kept_by=kept_by)

    def tear_down(self, instance: Instance, *, volumes: bool) -> None:
        """See `Engine`."""
        from devbox.engines.native import takedown

        takedown.tear_down(self._paths, instance.id, volumes=volumes)

    def _request(self, instance: Instance, verb: str, **fields: Any) -> dict[str, Any]:
        """Send one request to the instance's supervisor on its own connection, so that threads do not wait."""
        from devbox.isolation.start_supervisor import ensure_supervisor

        supervisor = ensure_supervisor(self._paths, instance.id)
        try:
            return supervisor.call(verb, **fields)
        finally:
            supervisor.close()

    def _join_container(self, instance: Instance, request: StartRequest, launch: Launch) -> Launch:
        """Return a one-shot that joins the namespaces of a running container and may trace its processes."""
        entry = read_entry(self._paths.entry_file(instance.id, request.joins), request.joins)
        target = ProcessRef(int(entry["pid"]), int(entry["start_time"]))
        added = (*launch.confine.add_capabilities, "SYS_PTRACE")
        return launch._replace(joins=target, confine=launch.confine._replace(add_capabilities=added))

    def _run_captured(
        self,
        instance: Instance,
        name: str,
        argv: tuple[str, ...],
        *,
        env: Mapping[str, str],
        on_line: Callable[[str], None],
        marks: Mapping[str, str] | None = None,
    ) -> int:
        """Run a command in a running container with its output, masked, to `on_line`."""
        from devbox.isolation.oneshot import run_captured

        mask = self._load_mask(instance, name)
        return run_captured(
            self._paths,
            instance.id,
            name,
            argv,
            env=env,
            on_line=lambda line: on_line(mask.mask_text(line)),
            marks=marks,
        )

    def _get_setup_file(self, instance: Instance, name: str) -> str:
        """Return the path of the mark of a container's running setup command; removed with the container."""
        return f"{self._paths.instance_runtime(instance.id)}/c/{name}/setup"

    def _load_mask(self, instance: Instance, name: str) -> logs.Mask:
        """Return the mask for a running container's output."""
        item = state.read_launch_file(self._paths, instance.id, name)
        return logs.Mask(tuple(item.get("hidden") or ()) if item else ())

    def _create_launch_builder(self, instance: Instance, idmap: IdMap) -> LaunchBuilder:
        from devbox.engines.native.start import LaunchBuilder
        from devbox.isolation.start_supervisor import ensure_supervisor

        ensure_supervisor(self._paths, instance.id).close()  # first: a new supervisor removes the files of others
        return LaunchBuilder(self._paths, instance, idmap=idmap, roots=self._lowers)

    def _is_running(self, instance: Instance, request: StartRequest) -> bool:
        if not os.path.exists(self._paths.launch_file(instance.id, request.spec.name)):
            return False  # unknown container: no need to read the state of all others
        now = state.read_state(self._paths, instance.id)[1]
        if now is None:
            return False
        return any(
            row.name == request.spec.name
            and row.state in state.LIVE
            and (row.spec_key, row.image_key) == (request.spec_key, request.image.key)
            for row in now.containers
        )
