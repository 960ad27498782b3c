"""Names, published ports, and isolation from the network."""

from __future__ import annotations

import socket

import pytest
from contract.engine.backend import Backend, needs
from support.machine import lacking, wait_until

from devbox.engines import capabilities
from devbox.errors import EngineError
from devbox.isolation.network.bridge import host_has_ipv6
from devbox.model.container import Health, Isolation
from devbox.model.observed import BoundPort

SERVE = (
    "perl",
    "-MIO::Socket::INET",
    "-e",
    '$s = IO::Socket::INET->new(Listen => 5, LocalPort => 8000) or die; while ($c = $s->accept) { print $c "hello" }',
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def bound(host: int) -> BoundPort:
    return BoundPort(host=host, address="127.0.0.1", container=8000, protocol="tcp")


def fetch(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as link:
        return link.recv(100)


def test_a_published_port_leads_to_its_container(backend: Backend) -> None:
    port = free_port()
    backend.network("web", published={"web": (bound(port),)})
    ready = backend.up("web", *SERVE, health=Health(tcp=True, port=8000))
    assert fetch(port) == b"hello"
    assert ready.ports == (bound(port),)
    assert backend.engine.observe(backend.instance).published == {"web": (bound(port),)}


SERVE_BOTH = ("perl", "-MIO::Socket::IP", "-e", SERVE[-1].replace("INET->new(", 'IP->new(LocalHost => "::", '))
SERVE_UDP = (
    *("perl", "-MIO::Socket::INET", "-e"),
    '$s = IO::Socket::INET->new(Proto => "udp", LocalPort => 8000) or die; $s->send("hello") while $s->recv($_, 9)',
)
# Who answers on its port 8000, by the address and protocol of the host's port that leads to it.
ANSWERS = {
    ("127.0.0.1", "tcp"): SERVE,
    ("0.0.0.0", "tcp"): SERVE,
    ("::1", "tcp"): SERVE_BOTH,
    ("127.0.0.1", "udp"): SERVE_UDP,
}


def listening(port: int, protocol: str) -> set[str]:
    """The addresses of the host with a listener on this port."""
    found = set()
    for version, family in (("", socket.AF_INET), ("6", socket.AF_INET6)):
        with open(f"/proc/net/{protocol}{version}", encoding="ascii") as table:
            rows = [line.split() for line in table][1:]
        for address, _, number in (row[1].partition(":") for row in rows if row[3] in ("0A", "07")):
            if int(number, 16) == port:
                words = (bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8))
                found.add(socket.inet_ntop(family, b"".join(words)))
    return found


@pytest.mark.parametrize(("address", "protocol"), ANSWERS)
def test_a_port_is_published_at_its_address_only(backend: Backend, address: str, protocol: str) -> None:
    if ":" in address and not host_has_ipv6():
        lacking("this machine has no IPv6 address")
    port = BoundPort(host=free_port(), address=address, container=8000, protocol=protocol)
    backend.network("web", published={"web": (port,)})
    backend.up("web", *ANSWERS[address, protocol])
    assert listening(port.host, protocol) == {address}

    def ask() -> bytes:
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind) as link:
            link.settimeout(5)
            try:
                link.connect((address, port.host))
                link.sendall(b"?")
                return link.recv(100)
            except OSError:
                return b""  # it does not listen yet

    assert wait_until(ask, seconds=60) == b"hello"


def test_ports_can_change_under_running_containers(backend: Backend) -> None:
    first, second = free_port(), free_port()
    backend.network("web", published={"web": (bound(first),)})
    backend.up("web", *SERVE, health=Health(tcp=True, port=8000))
    backend.network("web", "more", published={"web": (bound(second),)})
    assert fetch(second) == b"hello"
    with pytest.raises(OSError, match="refused"):
        fetch(first)


def test_a_taken_port_is_named(backend: Backend) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
        with pytest.raises(EngineError, match=str(port)):
            backend.network("web", published={"web": (bound(port),)})


def test_containers_resolve_each_other_in_any_start_order(backend: Backend) -> None:
    backend.network("a")
    backend.up("a")
    backend.network("a", "late")
    backend.up("late")
    assert backend.sh("a", "getent ahostsv4 late | head -1")[0].split()[0].startswith("10.")
    assert backend.sh("late", "getent ahostsv4 a | head -1")[0].split()[0].startswith("10.")


def test_what_is_seen_of_an_instance_has_the_addresses_of_its_containers(backend: Backend) -> None:
    backend.network("web", "db")
    backend.up("web")
    addresses = backend.engine.observe(backend.instance).addresses
    assert addresses.keys() == {"web", "db"}
    for name, address in addresses.items():
        assert (
            backend.engine.exec(backend.instance, "web", ("grep", f"^{address}\\s{name}$", "/etc/hosts"), env={}) == 0
        )


@needs(capabilities.ImageVerifier)
def test_a_container_that_runs_nothing_of_the_store_is_proven_to_run_nothing(backend: Backend) -> None:
    backend.network("web")
    backend.up("web")
    assert backend.engine.verify_image(backend.instance, "web") == ""
    assert backend.engine.verify_image(backend.instance, "db") == ""


def test_a_restarted_containers_name_leads_to_it_at_once(backend: Backend) -> None:
    backend.network("client", "web")
    backend.up("client")
    for _ in range(2):
        backend.up("web", *SERVE, health=Health(tcp=True, port=8000))
        assert backend.sh("client", "bash -c 'head -c 5 < /dev/tcp/web/8000'") == ["hello"]
        backend.engine.stop(backend.instance, "web", timeout=0)


def test_a_container_without_network_has_only_its_loopback(backend: Backend) -> None:
    backend.network("alone")
    backend.up("alone", isolation=Isolation(network="none"))
    assert backend.sh("alone", "ls /sys/class/net") == ["lo"]


def _addresses(backend: Backend, alias: str) -> set[str]:
    """All addresses of a name, as a container resolves it; empty for an unknown name."""
    return {line.split()[0] for line in backend.sh("client", f"getent ahostsv4 {alias} || true")}


def test_replicas_share_an_alias_as_long_as_they_run(backend: Backend) -> None:
    backend.network("client", "web.1", "web.2")
    backend.up("client")
    for name in ("web.1", "web.2"):
        backend.up(name, aliases=("web",))
    first, second = _addresses(backend, "web.1"), _addresses(backend, "web.2")
    assert len(first) == len(second) == 1
    assert _addresses(backend, "web") == first | second

    backend.engine.stop(backend.instance, "web.1", timeout=0)
    assert _addresses(backend, "web") == second
    backend.up("web.1", aliases=("web",))
    assert _addresses(backend, "web") == first | second
    for name in ("web.1", "web.2"):
        backend.engine.remove(backend.instance, name)
    assert _addresses(backend, "web") == set()


@needs(capabilities.EgressFilter)
def test_an_egress_list_is_held_and_what_it_refuses_is_in_the_log(backend: Backend) -> None:
    backend.network("dev")
    backend.up("dev", role="dev", isolation=Isolation(egress=("allowed.example",)))
    assert backend.sh("dev", "getent hosts refused.example || echo none") == ["none"]
    wait_until(lambda: any("connection to refused.example refused" in line for line in backend.log("dev")), seconds=60)
