"""A backend of the engine contract: the engine, an image to run, and a list of what is left after a test."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from devbox.engines.engine import Engine, StartRequest
from devbox.model.container import ContainerSpec
from devbox.model.image import BakedImage, ImageConfig
from devbox.model.observed import BoundPort, ObservedContainer
from devbox.model.spec import Instance

READY = ("sh", "-c", "exec sleep 1000")


def needs(*capabilities: type) -> pytest.MarkDecorator:
    """Collect a test only for engines with these protocols of `devbox.engines.capabilities`."""
    return pytest.mark.needs.with_args(*capabilities)


def image(key: str = "image-1", **config: Any) -> BakedImage:
    """A minimal Debian under an image key."""
    return BakedImage(
        key=key,
        digest="sha256:1",
        manifest="sha256:2",
        config_digest="sha256:3",
        layers=(),
        config=ImageConfig(**config),
    )


@dataclass
class Backend:
    """One instance on one engine."""

    engine: Engine
    instance: Instance
    traces: Callable[[], set[str]]  # processes, mounts, cgroups, runtime files of the instance
    published: dict[str, tuple[BoundPort, ...]] = field(default_factory=dict)

    def network(self, *names: str, published: Mapping[str, tuple[BoundPort, ...]] | None = None) -> None:
        """The instance network for these names."""
        self.published = dict(published or {})
        self.engine.ensure_network(self.instance, published=self.published, names=names)

    def request(self, name: str, *argv: str, baked: BakedImage | None = None, **spec: Any) -> StartRequest:
        """A start request; by default a service that sleeps."""
        facts: dict[str, Any] = {"role": "service", "image": name, "label": f"service.{name}", "stop_timeout": 5.0}
        desired = ContainerSpec(name=name, command=argv or READY, **(facts | spec))
        return StartRequest(
            spec=desired,
            image=baked or image(),
            spec_key=repr(desired),
            ports=self.published.get(name, ()),
            env=desired.env,
        )

    def start(self, name: str, *argv: str, **how: Any) -> None:
        """Start a container."""
        self.engine.start(self.instance, self.request(name, *argv, **how))

    def up(self, name: str, *argv: str, **how: Any) -> ObservedContainer:
        """Start a container and wait until it is ready."""
        self.start(name, *argv, **how)
        return self.engine.wait_ready(self.instance, name)

    def once(self, name: str, *argv: str, **spec: Any) -> int:
        """The exit code of a one-shot, which a process of its own runs: it changes how a process reaps and hears."""
        request = self.request(name, *argv, role="dev", **spec)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = self.engine.run_once(self.instance, request, tty=False)
            finally:
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def seen(self, name: str) -> ObservedContainer:
        """A container in one observation."""
        return self.engine.observe(self.instance).containers[name]

    def sh(self, name: str, script: str, **env: str) -> list[str]:
        """The output lines of a script in a running container; it must succeed."""
        lines: list[str] = []
        code = self.engine.exec(self.instance, name, ("sh", "-c", script), env=env, on_line=lines.append)
        assert code == 0, (code, lines)
        return lines

    def log(self, name: str, tail: int | None = None) -> list[str]:
        """The text of a container's log."""
        return [line.text for line in self.engine.read_logs(self.instance, (name,), follow=False, tail=tail)]


def processes_with(marks: tuple[bytes, ...]) -> set[str]:
    """Processes with one of these in their environment or on their command line."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as command, open(f"/proc/{pid}/environ", "rb") as environment:
                text = command.read() + b"\0" + environment.read()
        except OSError:
            continue
        if int(pid) != os.getpid() and any(mark in text for mark in marks):
            found.add(f"process {pid}")
    return found
