"""`image = "…"`: an image from a registry as service, base and dev, and pushed back unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support import layouts
from support.machine import Box, wait_until
from support.registry import Registry
from support.serving import serving

from devbox.images.store.layout import Descriptor, Layout

ENTRYPOINT = """#!/bin/sh
echo "entrypoint of $(id -un) in $PWD: $GREETING $*"
trap 'echo bye; exit 0' INT
touch /tmp/ready
while :; do sleep 1 & wait; done
"""
RUN = {
    "Env": ["PATH=/opt/bin:/usr/bin:/bin", "GREETING=hello"],
    "Entrypoint": ["/entrypoint"],
    "Cmd": ["by", "default"],
    "User": "daemon",
    "WorkingDir": "/srv",
    "StopSignal": "SIGINT",
    "ExposedPorts": {"80/tcp": {}},
    "Healthcheck": {"Test": ["CMD-SHELL", "test -f /tmp/ready"], "Interval": 1_000_000_000},
}
FILE = """
[service.web]
image = "{ref}"

[service.other]
image = "{ref}"
command = ["with", "arguments"]
user = "root"
health = false

[base.tools]
image = "{ref}"
run = ["echo $GREETING > /greeting"]

[dev]
from = "tools"
needs = ["web"]
"""


def of_two_platforms(oci: Layout, system: Descriptor) -> Descriptor:
    """An image of two platforms: a minimal Debian and an entrypoint."""
    upper = layouts.layer(oci, {"entrypoint": ENTRYPOINT.encode()})
    own = layouts.manifest(oci, (system, system.digest), upper, run=RUN)
    other = layouts.manifest(oci, layouts.layer(oci, {"other": b"platform"}), arch=layouts.OTHER)
    return layouts.index(oci, (own, layouts.get_architecture()), (other, layouts.OTHER))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry without a password that has it."""
    with serving(tmp_path_factory.mktemp("registry"), "team/app:1", of_two_platforms) as made:
        yield made


def test_an_image_of_a_registry_runs_as_it_says(box: Box, served: Registry):
    ref = f"{served.host}/team/app:1"
    project = box.project(FILE.format(ref=ref))
    box.ok("up", cwd=project)
    rows = {row["name"]: row for row in json.loads(box.ok("ps", "--json", cwd=project))}
    assert rows["web"]["health"] == "healthy"
    assert rows["other"]["health"] == "none"

    def said(name: str) -> str:
        return box.ok("logs", name, cwd=project)

    assert "entrypoint of daemon in /srv: hello by default" in wait_until(lambda: said("web"), seconds=60)
    wait_until(lambda: "entrypoint of root in /srv: hello with arguments" in said("other"), seconds=60)
    assert box.ok("exec", "--", "cat", "/greeting", cwd=project).strip() == "hello"
    assert box.ok("exec", "--", "sh", "-c", "echo $GREETING", cwd=project).strip() == "hello"
    digest = json.loads(box.ok("image", "pull", ref, "--json", cwd=project))["digest"]
    assert digest in (project / "devbox.lock.toml").read_text()
    box.ok("plan", "--locked", cwd=project)  # nothing to do, and nothing missing in the lock
    box.ok("stop", "web", cwd=project)
    wait_until(lambda: "bye" in said("web"), seconds=60)

    # It is pushed with both platforms and the same digest; images baked on it share its layers.
    pushed = json.loads(box.ok("image", "push", "service.web", f"{served.host}/copy/app:1", "--json", cwd=project))
    assert pushed["digest"] == digest
    served.wire.reset()
    box.ok("image", "push", "base.tools", f"{served.host}/team/tools:1", cwd=project)
    assert served.wire.sent < 10_000_000  # not the Debian below, which is more than a hundred
