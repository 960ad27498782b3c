"""The embedded engine: containers of this machine through the isolation core, supervised per instance, no daemon.

What only changing verbs need is imported in them: `observe` is all that an `up` with nothing to do asks for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from devbox.engines import native_view, native_volumes
from devbox.engines.contract import Capabilities, InstanceView, LogLine, StartRequest
from devbox.engines.native_tops import Tops
from devbox.host.paths import Paths
from devbox.isolation import launchfile, logs, state
from devbox.isolation.inside.enter import read_entry
from devbox.isolation.masking import Mask
from devbox.isolation.types import Launch, ProcessRef, Publish, pack
from devbox.model.image import Baked
from devbox.model.observed import BoundPort, ObservedContainer
from devbox.model.resolved import Instance

if TYPE_CHECKING:
    from devbox.engines.native_snapshots import NativeSnapshots


class NativeEngine:
    """Implements `engines.contract.Engine`; a supervisor per instance does the standing work."""

    name = "native"

    def __init__(self, paths: Paths, lowers: Callable[[Baked], tuple[str, ...]]) -> None:
        """`lowers` says where the unpacked layers of an image lie, topmost first."""
        self._paths = paths
        self._lowers = lowers

    @property
    def capabilities(self) -> Capabilities:
        """What this user can do on this host."""
        from devbox.isolation import cgroups
        from devbox.isolation.network import bridge

        return Capabilities(rootless=os.geteuid() != 0, limits=cgroups.detect() != "none", ipv6=bridge.host_has_ipv6())

    def check_network(self) -> None:
        """See the contract."""
        from devbox.isolation import contexts
        from devbox.isolation.network import egress

        contexts.check(self._paths)
        egress.require_tun()

    def observe(self, instance: Instance) -> InstanceView:
        """See the contract."""
        supervised, now = state.told(self._paths, instance.id)
        if supervised and now is not None and now.ending:  # a `down` was interrupted: what runs now is gone in a moment
            from devbox.engines import native_takedown

            native_takedown.await_end(now.supervisor)
            supervised, now = state.told(self._paths, instance.id)
        tops = Tops(self._paths, instance.id).kept()
        volumes = native_volumes.names(self._paths, instance.id)
        standing = os.path.isdir(self._paths.run(instance.id))
        return native_view.view(
            now,
            supervised=supervised,
            standing=standing,
            adoptable=not supervised and now is not None and state.has_ground(now),
            tops=tops,
            volumes=volumes,
        )

    def ensure_network(
        self, instance: Instance, *, published: Mapping[str, tuple[BoundPort, ...]], names: tuple[str, ...]
    ) -> tuple[str, ...]:
        """See the contract."""
        from devbox.isolation import contexts

        contexts.check(self._paths)
        wanted = [
            {"name": name, "publish": pack(Publish(port.host, port.address, port.container, port.protocol))}
            for name, ports in published.items()
            for port in ports
        ]
        answer = self._ask(instance, "network", network={"names": list(names), "published": wanted})
        return tuple(answer.get("warnings", ()))

    def start(self, instance: Instance, request: StartRequest) -> None:
        """See the contract."""
        from devbox.engines.native_start import Starter
        from devbox.isolation.idmap import store_map

        spec = request.spec
        if self._runs_already(instance, request):
            return
        idmap = store_map(self._paths)
        top = Tops(self._paths, instance.id).prepare(
            spec.name, image_key=request.image.key, keep=spec.keep_top, idmap=idmap
        )
        starter = Starter(self._paths, instance, idmap=idmap, roots=self._lowers)
        item = starter.supervised(request, lowers=self._lowers(request.image), top=top)
        # `listens` goes by itself: a supervisor of an earlier version does not know it, and starts without.
        more = {"listens": list(request.listens)} if request.listens else {}
        self._ask(instance, "start", item=pack(item), connected=spec.isolation.network != "none", **more)

    def wait_ready(self, instance: Instance, name: str) -> ObservedContainer:
        """See the contract."""
        answer = self._ask(instance, "wait", name=name)
        return native_view.container(state.load_row(answer["row"]), Tops(self._paths, instance.id).kept())

    def setup_done(self, instance: Instance, name: str, *, setup_key: str) -> None:
        """See the contract."""
        Tops(self._paths, instance.id).set_up(name, setup_key)
        self._ask(instance, "setup_done", name=name)

    def proven(self, instance: Instance, name: str) -> str:
        """See the contract."""
        from devbox.engines import native_proof

        return native_proof.digest(self._paths, instance.id, name)

    def accompany(self, instance: Instance, argv: tuple[str, ...]) -> None:
        """See the contract."""
        self._ask(instance, "accompany", argv=list(argv))

    def rerun(self, instance: Instance, name: str) -> None:
        """See the contract."""
        self._ask(instance, "rerun", name=name)

    def relabel(self, instance: Instance, name: str, *, image_key: str) -> None:
        """See the contract."""
        Tops(self._paths, instance.id).relabel(name, image_key)
        self._ask(instance, "relabel", name=name, image_key=image_key)

    def signal(self, instance: Instance, name: str, signal: str) -> None:
        """See the contract."""
        self._ask(instance, "signal", name=name, signal=signal)

    def stop(self, instance: Instance, name: str, *, timeout: float | None = None) -> None:
        """See the contract."""
        if state.read(self._paths, instance.id) is not None:
            self._ask(instance, "stop", name=name, timeout=timeout)

    def remove(self, instance: Instance, name: str, *, keep_top: bool = False) -> None:
        """See the contract."""
        if state.read(self._paths, instance.id) is None:
            return
        self._ask(instance, "remove", name=name)
        if not keep_top:
            from devbox.isolation.idmap import store_map

            idmap = store_map(self._paths)
            Tops(self._paths, instance.id).remove(name, idmap=idmap)

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
        """See the contract."""
        from devbox.isolation.inside.capture import run_captured
        from devbox.isolation.inside.enter import enter

        if on_line is not None:
            mask = self._mask(instance, name)
            return run_captured(
                self._paths, instance.id, name, argv, env=env, on_line=lambda line: on_line(mask.text(line))
            )
        return enter(self._paths, instance.id, name, argv, tty=tty, env=env)

    def run_once(self, instance: Instance, request: StartRequest, *, tty: bool) -> int:
        """See the contract."""
        from devbox.engines.native_start import Starter
        from devbox.isolation.idmap import store_map
        from devbox.isolation.inside import oneshot

        idmap = store_map(self._paths)
        top = Tops(self._paths, instance.id).prepare(
            request.spec.name, image_key=request.image.key, keep=False, idmap=idmap
        )
        starter = Starter(self._paths, instance, idmap=idmap, roots=self._lowers)
        launch = starter.launch(request, lowers=self._lowers(request.image), top=top)
        if tty:
            columns, rows = oneshot.terminal_size()
            launch = launch._replace(process=launch.process._replace(tty=True, rows=rows, columns=columns))
        if request.joins:
            return oneshot.run(self._paths, instance.id, self._joining(instance, request, launch), connected=False)
        return oneshot.run(self._paths, instance.id, launch, connected=request.spec.isolation.network != "none")

    def logs(self, instance: Instance, names: tuple[str, ...], *, follow: bool, tail: int | None) -> Iterator[LogLine]:
        """See the contract."""
        written = {name: self._paths.log(instance.id, name) for name in names}
        for container, at, text in logs.read(written, tail=tail, follow=follow):
            yield LogLine(container=container, at=at, text=text)

    def memory_kills(self, instance: Instance, name: str) -> int:
        """See the contract."""
        from devbox.isolation import cgroups

        now = state.told(self._paths, instance.id)[1]
        return cgroups.oom_kills(now.group, name) if now and now.group else 0

    def snapshots(self, instance: Instance, *, kept_by: str = "") -> NativeSnapshots:
        """See the contract."""
        from devbox.engines.native_snapshots import NativeSnapshots

        return NativeSnapshots(self._paths, instance.id, kept_by=kept_by)

    def teardown(self, instance: Instance, *, volumes: bool) -> None:
        """See the contract."""
        from devbox.engines import native_takedown

        native_takedown.takedown(self._paths, instance.id, volumes=volumes)

    def _ask(self, instance: Instance, verb: str, **fields: Any) -> dict[str, Any]:
        """One request to the instance's supervisor, on a connection of its own: threads do not wait for each other."""
        from devbox.isolation.summon import summon

        supervisor = summon(self._paths, instance.id)
        try:
            return supervisor.call(verb, **fields)
        finally:
            supervisor.close()

    def _joining(self, instance: Instance, request: StartRequest, launch: Launch) -> Launch:
        """A one-shot in the namespaces of a running container, allowed to trace whoever it finds there."""
        entry = read_entry(self._paths.entry(instance.id, request.joins), request.joins)
        target = ProcessRef(int(entry["pid"]), int(entry["start_time"]))
        added = (*launch.confine.add_capabilities, "SYS_PTRACE")
        return launch._replace(joins=target, confine=launch.confine._replace(add_capabilities=added))

    def _mask(self, instance: Instance, name: str) -> Mask:
        """What no line of a running container may show."""
        item = launchfile.read(self._paths, instance.id, name)
        return Mask(tuple(item.get("hidden") or ()) if item else ())

    def _runs_already(self, instance: Instance, request: StartRequest) -> bool:
        if not os.path.exists(self._paths.launch_file(instance.id, request.spec.name)):
            return False  # nobody knows it: no need to read what is known of all the others
        now = state.told(self._paths, instance.id)[1]
        if now is None:
            return False
        return any(
            row.name == request.spec.name
            and row.state in state.LIVE
            and (row.spec_key, row.image_key) == (request.spec_key, request.image.key)
            for row in now.containers
        )
