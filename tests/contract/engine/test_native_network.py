"""The native network in adverse conditions: a supervisor that dies, a host with conflicting routes."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract.engine.backend import Backend
from contract.engine.test_network import bound, fetch, free_port
from contract.engine.test_several_instances import own_address, reached, serve
from support.internet import internet
from support.machine import lacking, wait_until
from support.supervisors import kill_for_good

from devbox.host.paths import Paths
from devbox.isolation import liveness, state
from devbox.isolation.network import bridge
from devbox.isolation.network.bridge import Netlink
from devbox.isolation.oneshot import run_clone
from devbox.model.container import Isolation, Mount

OFFICE = "10.213.5.1"  # a host behind a VPN, in what would be the instance's network


@pytest.fixture
def outside() -> Iterator[None]:
    """Move this process and its children into a private internet."""
    if os.geteuid() != 0:
        lacking("only root can make an internet")
    with internet(ipv6=bridge.host_has_ipv6()):
        yield


def replace_supervisor(native: Backend, paths: Paths, *names: str, **how: object) -> None:
    """Kill it; the next one adopts everything, and is asked for these names."""
    now = state.read_state_file(paths, native.instance.id)
    assert now is not None
    kill_for_good(now.supervisor.pid)
    wait_until(lambda: not liveness.is_alive(now.supervisor), seconds=60)
    native.network(*names, **how)  # type: ignore[arg-type]


def test_a_one_shot_outlives_its_supervisor_and_still_reaches_the_hosts_proxy(
    native: Backend, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = Mount(kind="workspace", source=native.instance.root, target="/workspace")
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        port = proxy.getsockname()[1]
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        native.network("dev")
        native.up("dev", role="dev", mounts=(mount,), workdir="/workspace")
        knock = "IFS=/: read -r _ _ _ address port <<< $http_proxy; : < /dev/tcp/$address/$port"
        script = f"touch in; until [ -e go ]; do sleep 0.05; done; {knock} && exit 9"
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = run_clone(paths, native.instance.id, "dev", ("bash", "-c", script), tty=False, env={})
            finally:
                os._exit(code)
        wait_until(lambda: os.path.exists(f"{native.instance.root}/in"), seconds=60)
        replace_supervisor(native, paths, "dev", "late", published={"dev": (bound(free_port()),)})
        (Path(native.instance.root) / "go").touch()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


def test_an_egress_list_outlives_its_supervisor(outside: None, native: Backend, paths: Paths) -> None:
    native.network("dev")
    native.up("dev", role="dev", isolation=Isolation(egress=("a.example",)))

    def is_held() -> None:
        assert reached(native, "dev", "a.example", 443)
        assert not reached(native, "dev", "b.example", 443)
        assert not reached(native, "dev", "198.51.100.3", 443)

    is_held()
    replace_supervisor(native, paths, "dev", "late")
    is_held()
    assert native.sh("dev", "getent hosts later.example || echo none") == ["none"]
    wait_until(lambda: any("connection to later.example refused" in line for line in native.log("dev")), seconds=60)


@contextlib.contextmanager
def an_office() -> Iterator[None]:
    """Give the host a route to this address, and answer at port 443."""
    link = Netlink()
    link.add_bridge("vpn0", mtu=1500)
    link.add_address(socket.if_nametoindex("vpn0"), "10.213.5.2", 24)
    link.add_address(socket.if_nametoindex("lo"), OFFICE, 32)
    link.close()
    with socket.create_server((OFFICE, 443)):
        yield


def test_an_instance_leaves_the_hosts_routes_alone(
    outside: None, fresh: Callable[[], Backend], native: Backend, paths: Paths
) -> None:
    """One that was there before the route keeps its network, the next has another, which does not lead to it."""
    serve(native, "here")
    with an_office():
        other = fresh()
        serve(other, "there")
        here, there = own_address(native, "here"), own_address(other, "there")
        assert here.startswith("10.213.")
        assert there.startswith("172.29.")
        assert reached(other, "there", OFFICE, 443)
        assert not reached(native, "here", there, 8000)

        port = free_port()
        replace_supervisor(native, paths, "here", published={"here": (bound(port),)})
        assert fetch(port) == b"hello"
