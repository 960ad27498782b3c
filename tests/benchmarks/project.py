"""The projects that both sides run: equal images, commands, volumes, limits and health checks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from devbox import project
from devbox.model.container import ContainerSpec
from devbox.model.image import key_image
from devbox.model.spec import Spec

THREE_SERVICES = """
[project]
name = "bench"

[service.db]
recipe = "postgres"

[service.cache]
recipe = "redis"

[service.web]
recipe = "python"
command = ["python3", "-m", "http.server", "8000"]
health = { http = "/", port = 8000 }
needs = ["db", "cache"]

[tool.nothing]
recipe = "python"
command = ["true"]
needs = ["db", "cache"]
"""

_IDLE = """
[service.s{number:03}]
recipe = "python"
command = ["sleep", "infinity"]
"""


def idle(count: int) -> str:
    """A project of as many containers that only sleep."""
    return '[project]\nname = "dense"\n' + "".join(_IDLE.format(number=number) for number in range(count))


class Bench:
    """A project as devbox has it."""

    def __init__(self, base: Path, name: str = "bench", env_file: str = THREE_SERVICES) -> None:
        self.base = base
        self.root = base / name
        self.root.mkdir()
        (self.root / "devbox.toml").write_text(env_file)
        config = {"DEVBOX_CONFIG": str(base / "config")}
        self.environment = os.environ | config | {"DEVBOX_HOME": str(base / "home"), "NO_COLOR": "1"}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)  # peers are compiled, and so is devbox where pip put it
        os.environ["DEVBOX_HOME"] = str(base / "home")
        os.environ |= config
        self.program = str(Path(sys.executable).with_name("devbox"))

    def devbox(self, *words: str) -> None:
        """Run devbox, which must succeed; its progress goes to our stderr."""
        subprocess.run(
            [self.program, *words], cwd=self.root, env=self.environment, stdin=subprocess.DEVNULL, check=True
        )

    def ps(self) -> list[dict[str, Any]]:
        """The running containers."""
        argv = [self.program, "ps", "--json"]
        done = subprocess.run(argv, cwd=self.root, env=self.environment, capture_output=True, check=True)
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows

    def resolved(self) -> Spec:
        """The resolved env file."""
        return project.prepare(project.open_project(str(self.root)))

    def layout(self) -> str:
        """The OCI layout that holds the images."""
        return project.open_project(str(self.root)).paths.oci

    def reference(self, image: str) -> str:
        """Name of an image in the layout."""
        opened = project.open_project(str(self.root))
        key = key_image(image, self.resolved().images).key
        baked = opened.store.find(key)
        assert baked is not None
        index = json.loads(Path(opened.paths.oci, "index.json").read_text())
        entry = next(entry for entry in index["manifests"] if entry["digest"] == baked.digest)
        return str(entry["annotations"]["org.opencontainers.image.ref.name"])

    def compose(self, *, init: bool = False) -> dict[str, Any]:
        """The same project for Docker Compose: without an init by default, as usual."""
        resolved = self.resolved()
        specs = {name: spec for name, spec in resolved.containers.items() if name not in resolved.on_use}
        return {
            "services": {name: _service(spec) | {"init": init} for name, spec in specs.items()},
            "volumes": {mount.source: {} for spec in specs.values() for mount in spec.mounts if mount.kind == "volume"},
        }


def _service(spec: ContainerSpec) -> dict[str, Any]:
    return {
        "image": f"bench/{spec.name}",
        "entrypoint": list(spec.command),
        "environment": {name: value.replace("$", "$$") for name, value in spec.env.items()},
        "working_dir": spec.workdir,
        "user": spec.user,
        "stop_signal": f"SIG{spec.stop_signal}",
        "volumes": [f"{mount.source}:{mount.target}" for mount in spec.mounts if mount.kind == "volume"],
        "depends_on": {need: {"condition": "service_healthy"} for need in spec.needs},
        "healthcheck": {
            "test": ["CMD", *_probe(spec)],
            "interval": "10s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "60s",
            "start_interval": "50ms",
        },
    }


def _probe(spec: ContainerSpec) -> list[str]:
    """The probe as a command, since Docker has no other kind."""
    health = spec.health
    assert health is not None
    if health.command:
        return list(health.command)
    connect = f"import socket; socket.create_connection(('127.0.0.1', {health.port}), 2).close()"
    return ["python3", "-c", connect]
