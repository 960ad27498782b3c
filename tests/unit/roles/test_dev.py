"""Expansion of [dev]."""

from __future__ import annotations

import pytest

from devbox.errors import EnvFileError
from devbox.model.container import Health, Mount, Port, Secret, Setup

DEV = '[dev]\nrecipe = "debian"\n'


def test_dev_keeps_running_and_its_command_is_supervised(load_spec):
    dev = load_spec(DEV + 'command = "serve"\nports = ["53:53/udp", 8000]\n').containers["dev"]
    assert dev.command == ("sleep", "infinity")
    assert dev.supervised == ("/bin/sh", "-c", "serve")
    assert dev.keep_top
    assert dev.restart == "on-failure"
    assert dev.health == Health(tcp=True, port=8000)


def test_no_probe_without_a_command_or_when_switched_off(load_spec):
    assert load_spec(DEV + "ports = [8000]\n").containers["dev"].health is None
    assert load_spec(DEV + 'command = ["x"]\nports = [8000]\nhealth = false\n').containers["dev"].health is None


def test_the_probe_of_the_file(load_spec):
    health = '{ http = "/ok", interval = "1m", timeout = "500ms", retries = 5, start_period = 90 }'
    dev = load_spec(DEV + f'command = ["x"]\nports = [8000]\nhealth = {health}\n').containers["dev"]
    assert dev.health == Health(http="/ok", port=8000, interval=60, timeout=0.5, retries=5, start_period=90)


def test_the_workspace_is_where_commands_run(load_spec):
    found = load_spec(DEV)
    dev = found.containers["dev"]
    assert dev.mounts == (Mount(kind="workspace", source=found.instance.root, target="/workspace"),)
    assert dev.workdir == "/workspace"
    moved = load_spec(DEV + 'workspace = "/src"\n').containers["dev"]
    assert (moved.mounts[0].target, moved.workdir) == ("/src", "/src")


def test_volumes_mounts_and_tmpfs(load_spec):
    text = DEV + 'volumes = { pip = "/root/.cache/pip" }\ntmpfs = ["/scratch"]\n'
    text += '[[dev.mounts]]\nsource = "devbox.toml"\ntarget = "/c"\n'
    found = load_spec(text)
    assert found.containers["dev"].mounts[1:] == (
        Mount(kind="volume", source="pip", target="/root/.cache/pip"),
        Mount(kind="bind", source=f"{found.instance.root}/devbox.toml", target="/c", read_only=True),
        Mount(kind="tmpfs", target="/scratch"),
    )
    assert [volume.name for volume in found.volumes] == ["pip"]


def test_ports(load_spec):
    ports = '[8000, "9000", "80:8080", "0.0.0.0:53:53/udp", "[::1]:1:2"]'
    assert load_spec(DEV + f"ports = {ports}\n").containers["dev"].ports == (
        Port(container=8000),
        Port(container=9000),
        Port(container=8080, host=80),
        Port(container=53, host=53, address="0.0.0.0", protocol="udp"),
        Port(container=2, host=1, address="::1"),
    )


def test_setup_limits_isolation_and_stop(load_spec):
    text = (
        DEV + 'stop_signal = "SIGINT"\nstop_timeout = "1m"\nlimits = { memory = "512MiB", cpus = 1.5, pids = 10 }\n'
        'isolation = { preset = "isolated", network = "none", capabilities = ["cap_net_admin"], read_only = true }\n'
        '[dev.setup]\nrun = ["a", ["b", "c"]]\ninputs = ["x"]\n'
    )
    dev = load_spec(text).containers["dev"]
    assert dev.setup == Setup(commands=("a", ("b", "c")), inputs=("x",), where="devbox.toml:7")
    assert (dev.limits.memory, dev.limits.cpus, dev.limits.pids) == (512 * 1024**2, 1.5, 10)
    assert (dev.isolation.preset, dev.isolation.network, dev.isolation.read_only) == ("isolated", "none", True)
    assert dev.isolation.capabilities == ("-ALL", "NET_ADMIN")
    assert (dev.stop_signal, dev.stop_timeout) == ("INT", 60)


def test_secrets_stay_references(load_spec):
    text = 'secrets = { T = "cmd:pass show t", F = { from = "env:F", file = "/run/secrets/f" } }\n'
    dev = load_spec(DEV + text).containers["dev"]
    assert dev.secrets == {
        "T": Secret(reference="cmd:pass show t"),
        "F": Secret(reference="env:F", file="/run/secrets/f"),
    }
    assert "T" not in dev.env


def test_tasks(load_spec):
    text = '[tasks]\na = "x y"\nb = ["x", "y"]\nc = { run = ["x", ["y", "a b"]], needs = ["a"] }\n'
    tasks = load_spec(text).tasks
    assert tasks["a"].commands == ("x y",)
    assert tasks["b"].commands == (("x", "y"),)
    assert tasks["c"].commands == ("x", ("y", "a b"))
    assert tasks["c"].needs == ("a",)


def test_isolated_is_closed_but_for_the_project(load_spec):
    dev = load_spec('[dev]\nrecipe = "debian"\nisolation = "isolated"\ntmpfs = ["/run"]\n').containers["dev"]
    assert (dev.isolation.network, dev.isolation.read_only) == ("none", True)
    assert dev.isolation.capabilities == ("-ALL",)
    assert [mount.target for mount in dev.mounts] == ["/workspace", "/run", "/tmp", "/var/tmp"]


def test_isolated_is_loosened_key_by_key(load_spec):
    text = '{ preset = "isolated", network = "project", capabilities = ["chown"], read_only = false }'
    dev = load_spec(f'[dev]\nrecipe = "debian"\nisolation = {text}\n').containers["dev"]
    assert (dev.isolation.network, dev.isolation.read_only) == ("project", False)
    assert dev.isolation.capabilities == ("-ALL", "CHOWN")
    assert [mount.target for mount in dev.mounts] == ["/workspace"]


def test_what_an_isolated_container_needs_it_must_be_able_to_reach(load_spec):
    text = '[service.db]\nrecipe = "redis"\n[dev]\nrecipe = "debian"\nneeds = ["db"]\nisolation = '
    with pytest.raises(EnvFileError) as caught:
        load_spec(f'{text}"isolated"\n')
    assert caught.value.sentence == "[dev] needs db, but an isolated container has no network"
    assert caught.value.where.endswith(":5")
    assert load_spec(f"{text}{caught.value.remedy.removeprefix('isolation = ')}\n").containers["dev"].needs == ("db",)
