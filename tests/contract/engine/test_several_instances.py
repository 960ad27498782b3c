"""Several instances on one host: no container and no supervisor can reach another instance."""

from __future__ import annotations

import socket

from contract.engine.backend import Backend
from contract.engine.test_network import SERVE, bound, fetch, free_port

from devbox.host.paths import Paths
from devbox.isolation import state
from devbox.model.container import Health, Mount


def serve(backend: Backend, *names: str) -> int:
    """Serve the last of these names at a host port; return the port."""
    port = free_port()
    backend.network(*names, published={names[-1]: (bound(port),)})
    backend.up(names[-1], *SERVE, health=Health(tcp=True, port=8000))
    assert fetch(port) == b"hello"
    return port


def own_address(backend: Backend, name: str) -> str:
    return backend.sh(name, f"getent ahostsv4 {name}")[0].split()[0]


def reached(backend: Backend, name: str, target: str, port: int) -> bool:
    """Whether a container gets a connection."""
    script = f"timeout 60 bash -c ': < /dev/tcp/{target}/{port}' 2> /dev/null && echo yes || echo no"
    return backend.sh(name, script) == ["yes"]


def addresses_of_this_machine() -> set[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.200", 9))  # sends nothing
        return {"127.0.0.1", probe.getsockname()[0]}


def test_another_instance_is_out_of_reach(backend: Backend, other: Backend) -> None:
    """By name, by address, which also exists in the own network, and by the port published on the host."""
    ports = serve(backend, "here"), serve(other, "spare", "there")
    here, there = own_address(backend, "here"), own_address(other, "there")
    assert here.split(".")[:2] == there.split(".")[:2]
    assert here != there
    assert reached(backend, "here", here, 8000)
    assert reached(other, "there", there, 8000)

    assert not reached(backend, "here", there, 8000)
    assert not reached(other, "there", here, 8000)
    assert backend.sh("here", "getent hosts there || echo nobody") == ["nobody"]
    gateway = f"{'.'.join(here.split('.')[:2])}.0.1"
    for address in {gateway, *addresses_of_this_machine()}:
        assert not reached(backend, "here", address, ports[1])
        assert not reached(other, "there", address, ports[0])


def run_dev(backend: Backend, other: Backend) -> None:
    """Run a container with a workspace, next to the network of another instance."""
    mount = Mount(kind="workspace", source=backend.instance.root, target="/workspace")
    backend.network("dev")
    backend.up("dev", role="dev", mounts=(mount,), workdir="/workspace")
    other.network("there")


def test_no_socket_of_a_native_supervisor_is_in_reach(native: Backend, other: Backend, paths: Paths) -> None:
    run_dev(native, other)
    for each in (native, other):
        assert state.observe_state(paths, each.instance.id)[0]
        connect = f"use Socket; socket(S, 1, 1, 0); connect(S, pack_sockaddr_un(q{{{paths.socket(each.instance.id)}}}))"
        assert native.sh("dev", f"perl -e '{connect} or print $!'") == ["No such file or directory"]


def test_no_supervisor_is_in_reach(backend: Backend, other: Backend) -> None:
    """Neither a socket of one in the file system, nor one without a name, nor one that was left open."""
    run_dev(backend, other)
    but_the_agent = (
        "-path /.devbox/agent -prune -o -type s -print"  # leads to the caller's SSH agent, and to nothing else
    )
    assert (
        backend.sh("dev", f"find / -xdev -type s; find /workspace $(ls -d /.devbox 2>/dev/null) {but_the_agent}") == []
    )
    assert backend.sh("dev", "tail -n +2 /proc/net/unix") == []
    assert backend.sh("dev", "ls -l /proc/1/fd | grep socket: || true") == []
