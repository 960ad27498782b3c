"""A small engine for tests: the ten methods of `devbox.engines.engine.Engine`, by unshare, nsenter, mount and ip.

Root only; no code of the native engine or of `devbox.isolation`. An instance has a network namespace with a bridge, and
a process that forwards published ports into it. A container has a supervisor, whose state file `observe` reads.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from support.fake_container import (
    ENDED,
    build_init,
    decode,
    enter,
    find_user,
    is_supervised,
    list_directory,
    list_processes,
    load,
    read,
    read_rows,
    read_state,
    request_stop,
    spawn,
    wait_for,
    write,
)
from support.fake_network import change_network, create_network, find_address, publish, read_network, remove_network

from devbox.engines.engine import InstanceView, KeptWritableLayer, LogLine, StartRequest
from devbox.errors import CannotRun, EngineError, NotReady
from devbox.host.paths import Paths
from devbox.model.image import DEFAULT_PATH, BakedImage
from devbox.model.observed import BoundPort, ObservedContainer
from devbox.model.spec import Instance

SHOWN = ("state", "health", "pid", "restarts", "crashes", "exit_code", "reason", "started_at")


class FakeEngine:
    """Implements `engines.engine.Engine`, and none of `engines.capabilities`."""

    name = "fake"

    def __init__(self, paths: Paths, lowers: Callable[[BakedImage], tuple[str, ...]]) -> None:
        self._paths = paths
        self._lowers = lowers

    def observe(self, instance: Instance) -> InstanceView:
        run, data = self._run(instance), self._data(instance)
        network, rows = read_network(run), read_rows(run)
        kept = {name: f"{data}/layers/{name}/kept" for name in list_directory(f"{data}/layers")}
        ports = {name: tuple(BoundPort(**port) for port in ports) for name, ports in network["published"].items()}
        containers = {}
        for name, row in rows.items():
            request = load(f"{run}/{name}/launch")["request"]
            spec, image = request.spec, request.image
            containers[name] = ObservedContainer(
                name=name,
                role=spec.role,
                image=spec.image,
                digest=image.digest,
                image_key=image.key,
                spec_key=request.spec_key,
                ports=ports.get(name, ()),
                **{key: row[key] for key in SHOWN},
            )
        return InstanceView(
            supervised=os.path.ismount(f"{run}/netns"),
            standing=os.path.isdir(run),
            containers=containers,
            volumes=tuple(list_directory(f"{data}/volumes")),
            names=tuple(network["names"]),
            addresses=network["names"],
            published=ports,
            tops={name: KeptWritableLayer(image_key=read(path)) for name, path in kept.items() if os.path.exists(path)},
        )

    def ensure_network(
        self, instance: Instance, *, published: Mapping[str, tuple[BoundPort, ...]], names: tuple[str, ...]
    ) -> tuple[str, ...]:
        run = self._run(instance)
        create_network(run)
        with change_network(run) as network:
            before, network["names"] = network["names"], {}
            for name in dict.fromkeys((*names, *published)):
                network["names"][name] = before.get(name) or find_address(network, before)
            publish(run, network, {name: [vars(port) for port in ports] for name, ports in published.items()})
        return ()

    def start(self, instance: Instance, request: StartRequest) -> None:
        spec, home = request.spec, f"{self._run(instance)}/{request.spec.name}"
        row = self.observe(instance).containers.get(spec.name)
        if row is not None and row.state not in ENDED:
            if (row.spec_key, row.image_key) == (request.spec_key, request.image.key):
                return
            raise EngineError(f"container {spec.name} already exists", remedy=f"devbox stop {spec.name}")
        self._prepare(instance, request, home, keep=spec.keep_top)
        os.mkfifo(f"{home}/control")
        spawn("support.fake_supervisor", home, log=f"{home}/supervisor.log")
        wait_for(lambda: read_state(home) and read_state(home)["state"] != "starting", f"cannot start {spec.name}")

    def wait_ready(self, instance: Instance, name: str) -> ObservedContainer:
        home = f"{self._run(instance)}/{name}"
        before = (read_state(home) or {"times_ready": 0})["times_ready"]
        while True:
            row = read_state(home)
            if row and row["failure"]:
                lines = [line.text for line in self.read_logs(instance, (name,), follow=False, tail=8)]
                raise NotReady(row["failure"], details="\n".join(lines), remedy=f"devbox logs {name}")
            if row and (row["ready"] or row["times_ready"] > before):
                return self.observe(instance).containers[name]
            time.sleep(0.01)

    def stop(self, instance: Instance, name: str, *, timeout: float | None = None) -> None:
        home = f"{self._run(instance)}/{name}"
        request_stop(home, timeout)
        wait_for(lambda: not is_supervised(home), f"cannot stop {name}", seconds=None)

    def remove(self, instance: Instance, name: str, *, keep_top: bool = False) -> None:
        self.stop(instance, name)
        shutil.rmtree(f"{self._run(instance)}/{name}", ignore_errors=True)
        if not keep_top:
            shutil.rmtree(f"{self._data(instance)}/layers/{name}", ignore_errors=True)

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
        row = read_state(f"{self._run(instance)}/{name}")
        if not row or not row["pid"]:
            raise CannotRun(f"{name} is not running", remedy="devbox up")
        launch = load(f"{self._run(instance)}/{name}/launch")
        command, together = [*enter(row["pid"], launch), *argv], {**launch["env"], **env}
        if on_line is None:
            return decode(subprocess.run(command, env=together, check=False).returncode)
        streams: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen(command, env=together, text=True, errors="replace", **streams) as process:
            assert process.stdout is not None
            for line in process.stdout:
                on_line(line.rstrip("\n"))
        return decode(process.returncode)

    def run_once(self, instance: Instance, request: StartRequest, *, tty: bool) -> int:
        run, name = self._run(instance), request.spec.name
        with change_network(run) as network:
            network["guests"][name] = find_address(network, network["names"])
        try:
            self._prepare(instance, request, f"{run}/{name}", keep=False)
            target = read_state(f"{run}/{request.joins}")["pid"] if request.joins else 0
            return decode(subprocess.run(build_init(f"{run}/{name}", joins=target), env={}, check=False).returncode)
        finally:
            if os.path.isdir(run):  # `tear_down` may have come first
                with change_network(run) as network:
                    network["guests"].pop(name, None)
                self.remove(instance, name)

    def read_logs(
        self, instance: Instance, names: tuple[str, ...], *, follow: bool, tail: int | None
    ) -> Iterator[LogLine]:
        logs, read_to = f"{self._data(instance)}/logs", dict.fromkeys(names, 0)
        while True:
            found: list[LogLine] = []
            for name in names:
                lines = read(f"{logs}/{name}").split("\n")[:-1]
                first = max(read_to[name], len(lines) - tail if tail is not None and not read_to[name] else 0)
                read_to[name] = len(lines)
                parts = (line.partition(" ") for line in lines[first:])
                found += [LogLine(container=name, at=at, text=text) for at, _, text in parts]
            yield from sorted(found, key=lambda line: line.at)
            if not follow:
                return
            time.sleep(0.05)

    def tear_down(self, instance: Instance, *, volumes: bool) -> None:
        run, data = self._run(instance), self._data(instance)
        for name in read_rows(run):
            request_stop(f"{run}/{name}", None)
        for name in read_rows(run):
            self.stop(instance, name)
        while left := list_processes(data):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)
        remove_network(run)
        shutil.rmtree(self._paths.instance_runtime(instance.id), ignore_errors=True)
        for name in list_directory(f"{data}/layers"):
            if volumes or not os.path.exists(f"{data}/layers/{name}/kept"):
                shutil.rmtree(f"{data}/layers/{name}")
        if volumes:
            shutil.rmtree(data, ignore_errors=True)

    def _run(self, instance: Instance) -> str:
        return f"{self._paths.instance_runtime(instance.id)}/fake"

    def _data(self, instance: Instance) -> str:
        return f"{self._paths.project(instance.id)}/fake"

    def _prepare(self, instance: Instance, request: StartRequest, home: str, *, keep: bool) -> None:
        """Create a container's directory, its writable layer and its launch file."""
        spec, image, data = request.spec, request.image, self._data(instance)
        layer, lowers = f"{data}/layers/{spec.name}", self._lowers(image)
        if not keep or read(f"{layer}/kept") != image.key:
            shutil.rmtree(layer, ignore_errors=True)
        for path in (f"{layer}/upper", f"{layer}/work", f"{data}/logs", f"{data}/volumes"):
            os.makedirs(path, exist_ok=True)
        if keep:
            write(f"{layer}/kept", image.key)
        uid, gid, user_home = find_user(spec.user or image.config.user, (f"{layer}/upper", *lowers))
        launch = {
            "request": request,
            "argv": () if spec.idle else spec.command or (*image.config.entrypoint, *image.config.command),
            "env": {"PATH": DEFAULT_PATH, "HOME": user_home, **image.config.env, **request.env},
            "user": (uid, gid, spec.workdir or image.config.workdir),
            "owner": (instance.owner, instance.group),
            "lowers": lowers,
            "beside": {source: self._lowers(each) for source, each in request.mounted_images.items()},
            "layer": layer,
            "data": data,
        }
        shutil.rmtree(home, ignore_errors=True)
        os.makedirs(home, mode=0o700)
        with open(f"{home}/launch", "wb") as file:
            pickle.dump(launch, file)
