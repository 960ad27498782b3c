"""What a container inherits from the caller, by its role and isolation."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from contract.engine.backend import image

from devbox.engines.engine import StartRequest
from devbox.engines.native.start import LaunchBuilder
from devbox.host.paths import Paths
from devbox.isolation import exec
from devbox.isolation.types import IdMap, Launch, Range
from devbox.model.container import ContainerSpec, Isolation
from devbox.model.spec import Instance

OWN = IdMap(rootless=False, uids=(Range(0, 0, 65536),), gids=(Range(0, 0, 65536),))


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """The runtime directory of an instance with a supervisor, and a caller with an agent."""
    monkeypatch.delenv("DEVBOX_SSH_AGENT", raising=False)
    monkeypatch.setenv("SSH_AUTH_SOCK", "/tmp/agent.1")
    made = Paths(str(tmp_path / "home"), str(tmp_path / "run"))
    os.makedirs(made.agent("abc"))
    return made


def launched(paths: Paths, role: str, **isolation: str) -> Launch:
    """The launch of a container of this role."""
    instance = Instance(id="abc", name="shop", root="/shop", env_file="devbox.toml", owner=0, group=0)
    spec = ContainerSpec(
        name="x", label="x", role=role, image="x", command=("true",), user="0:0", isolation=Isolation(**isolation)
    )
    request = StartRequest(spec=spec, image=image(), spec_key="key", ports=(), env={})
    return LaunchBuilder(paths, instance, idmap=OWN, roots=lambda _: ()).build_launch(request, lowers=(), top="/top")


def has_agent(launch: Launch) -> bool:
    bound = exec.AGENT_DIRECTORY in [bind.target for bind in launch.binds]
    assert bound == (f"SSH_AUTH_SOCK={exec.AGENT_SOCKET}" in launch.process.env)
    return bound


@pytest.mark.parametrize("role", ["dev", "tool", "base"])
def test_the_agent_is_reachable_in_dev(paths: Paths, role: str) -> None:
    assert has_agent(launched(paths, role))
    assert not has_agent(launched(paths, role, preset="isolated"))


@pytest.mark.parametrize("role", ["service", "glue", "debug"])
def test_what_runs_next_to_does_not_reach_it(paths: Paths, role: str) -> None:
    assert not has_agent(launched(paths, role))


def test_a_supervisor_without_agent_support_offers_no_agent(paths: Paths) -> None:
    os.rmdir(paths.agent("abc"))
    assert not has_agent(launched(paths, "dev"))


@pytest.mark.parametrize(
    ("callers", "leads_to"),
    [
        ({"SSH_AUTH_SOCK": "/tmp/agent.2"}, "/tmp/agent.2"),
        ({"SSH_AUTH_SOCK": ""}, None),
        ({"DEVBOX_SSH_AGENT": "/tmp/other"}, "/tmp/other"),
        ({"DEVBOX_SSH_AGENT": "none"}, None),
    ],
)
def test_the_link_leads_to_the_caller_s_agent(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, callers: dict[str, str], leads_to: str | None
) -> None:
    exec.link_agent(paths, "abc")
    assert os.readlink(paths.agent_link("abc")) == "/tmp/agent.1"
    for name, value in callers.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        exec.link_agent(paths, "abc")
    link = paths.agent_link("abc")
    assert (os.readlink(link) if os.path.lexists(link) else None) == leads_to
    assert sorted(os.listdir(paths.supervisor_files("abc"))) == (["agent", "agent.to"] if leads_to else ["agent"])
