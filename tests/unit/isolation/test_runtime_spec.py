"""A launch as config.json."""

from __future__ import annotations

import pytest

from devbox.isolation import runtime_spec
from devbox.isolation.types import Bind, IdMap, InstanceContext, Launch, ProcessRef, ProcessSpec, Range, SecurityProfile

IDS = IdMap(rootless=False, uids=(Range(0, 1 << 30, 65536),), gids=(Range(0, 1 << 30, 65536),))
CONTEXT = InstanceContext(
    instance="shop",
    run_dir="/run/devbox-0/0badcafe/shop",
    oci_root="/run/shop/oci",
    runtime="/usr/bin/crun",
    init="/usr/bin/catatonit",
    idmap=IDS,
    holder=ProcessRef(7, 1),
    cgroups="v1",
    group="/devbox/0badcafe/shop",
)
STAGED = runtime_spec.StagedContainer(rootfs="/r", binds=(), netns="/n", userns="/proc/7/ns/user", open_files=4096)


def launch(*argv: str, **fields: object) -> Launch:
    process = ProcessSpec(argv=argv, env=("A=b",), cwd="/w", uid=5, gid=6, groups=(7,))
    return Launch(name="db", oci_id="shop-db", lowers=("/l",), top="/t", process=process)._replace(**fields)


def test_the_process_runs_under_an_init_without_new_privileges():
    process = runtime_spec.build_config(CONTEXT, launch("postgres", "-x"), STAGED)["process"]

    assert process["args"] == ["/.devbox/init", "--", "postgres", "-x"]
    assert process["user"] == {"uid": 5, "gid": 6, "additionalGids": [7]}
    assert process["noNewPrivileges"] is True
    assert process["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 4096, "hard": 4096}]
    assert "consoleSize" not in process


def test_an_init_without_a_command_sleeps():
    assert runtime_spec.build_process(launch(), 1024)["args"] == ["/.devbox/init", "-P"]


def test_without_an_init_the_process_is_pid_1():
    assert runtime_spec.build_process(launch("true", init=False), 1024)["args"] == ["true"]


def test_a_terminal_is_never_without_size():
    container = launch("sh")
    sized = container.process._replace(tty=True, rows=33, columns=101)

    unsized = runtime_spec.build_process(container._replace(process=sized._replace(rows=0, columns=0)), 1024)

    assert unsized["consoleSize"] == {"height": 24, "width": 80}
    assert runtime_spec.build_process(container._replace(process=sized), 1024)["consoleSize"] == {
        "height": 33,
        "width": 101,
    }


def test_namespaces_are_the_holders_or_its_own():
    linux = runtime_spec.build_config(CONTEXT, launch("x"), STAGED)["linux"]
    rootless = runtime_spec.build_config(CONTEXT, launch("x"), STAGED._replace(userns=""))["linux"]

    assert linux["namespaces"][0] == {"type": "user", "path": "/proc/7/ns/user"}
    assert linux["namespaces"][-1] == {"type": "network", "path": "/n"}
    assert "user" not in [namespace["type"] for namespace in rootless["namespaces"]]


def test_binds_are_made_from_the_root_downwards():
    binds = (Bind("/s/0", "/w/a/b"), Bind("/s/1", "/w", read_only=True))

    mounts = runtime_spec.build_config(CONTEXT, launch("x"), STAGED._replace(binds=binds))["mounts"][-2:]

    assert [mount["destination"] for mount in mounts] == ["/w", "/w/a/b"]
    assert "ro" in mounts[0]["options"]
    assert "ro" not in mounts[1]["options"]


def test_limits_need_a_cgroup():
    container = launch("x", confine=SecurityProfile(memory=1 << 20, cpus=1.5, pids=9))

    linux = runtime_spec.build_config(CONTEXT, container, STAGED)["linux"]
    without = runtime_spec.build_config(CONTEXT._replace(cgroups="none"), container, STAGED)

    assert linux["cgroupsPath"] == "/devbox/0badcafe/shop/db"
    assert linux["resources"]["memory"] == {"limit": 1 << 20}
    counted = runtime_spec.build_config(CONTEXT, container, STAGED._replace(swap=True))["linux"]
    assert counted["resources"]["memory"] == {"limit": 1 << 20, "swap": 2 << 20}
    assert linux["resources"]["cpu"] == {"quota": 150_000, "period": 100_000}
    assert linux["resources"]["pids"] == {"limit": 9}
    assert "resources" not in without["linux"]
    assert "/sys/fs/cgroup" not in [mount["destination"] for mount in without["mounts"]]


def test_added_capabilities_are_everywhere_but_inheritable():
    capabilities = runtime_spec.build_process(launch("x", confine=SecurityProfile(add_capabilities=("NET_ADMIN",))), 1)[
        "capabilities"
    ]

    assert set(capabilities) == {"bounding", "effective", "permitted"}
    assert all("CAP_NET_ADMIN" in names and len(names) == 15 for names in capabilities.values())


@pytest.mark.parametrize(
    ("dropped", "added", "left"),
    [(("NET_RAW", "MKNOD"), (), 12), (("ALL",), (), 0), (("ALL",), ("CHOWN", "NET_ADMIN"), 2)],
)
def test_dropped_capabilities_are_nowhere(dropped: tuple[str, ...], added: tuple[str, ...], left: int):
    confine = SecurityProfile(add_capabilities=added, drop_capabilities=dropped)

    capabilities = runtime_spec.build_process(launch("x", confine=confine), 1)["capabilities"]

    assert all(len(names) == left for names in capabilities.values())
    assert all(f"CAP_{name}" in names for names in capabilities.values() for name in added)
