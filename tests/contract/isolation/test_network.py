"""The instance network: names, egress, published ports, and no access to the host's own services."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import frames
from support.machine import lacking, wait_until
from support.place import Place

from devbox.errors import EngineError
from devbox.isolation import forks, namespaces
from devbox.isolation.network import bridge, egress
from devbox.isolation.types import HostPort, NetNode, PortRoute, PublishedPort

# What can answer in the minimal Debian is perl-base. It reads before it answers: closing with unread input is a reset.
_SERVER = """perl -MIO::Socket::INET -e '
  my $s = IO::Socket::INET->new(LocalPort => $ARGV[0], Listen => 5, ReuseAddr => 1) or die $!;
  while (my $c = $s->accept) { <$c>; print $c "HTTP/1.0 200 OK\\r\\n\\r\\nhello"; close $c }' """


# passt of Debian 12. It sends a segment without flags in every connection.
_OLD_PASST = "http://deb.debian.org/debian/pool/main/p/passt/passt_0.0~git20230309.7c7625d-1_amd64.deb"
_OLD_PASST_SHA256 = "86cbbf887b293caa4602babeae6b2a903b3303ff61ca9b8c383f684d2d8b5e6c"

# The gateway's hardware address, which the container's kernel knows once it has sent something there.
_NEIGHBOUR = (
    "bash -c 'echo > /dev/udp/10.213.0.1/9'; "
    "until awk '$1 ~ /[.]0[.]1$/ && $4 !~ /^00:/ { print $4; f = 1 } END { exit !f }' /proc/net/arp; do :; done"
)


def _serve(place: Place, name: str, port: int) -> None:
    ready = f"while ! bash -c ': < /dev/tcp/127.0.0.1/{port}'; do :; done 2> /dev/null"
    place.sh(name, f"{_SERVER} {port} > /dev/null 2>&1 & {ready}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def outward(clear: Place) -> Iterator[Place]:
    """The instance with egress and no published port."""
    pasta = egress.start_egress(clear.context, ())
    yield clear
    egress.stop_egress(pasta)


def test_two_containers_reach_each_other_by_name(clear: Place):
    clear.run(clear.container("c0", index=0))
    clear.run(clear.container("c1", index=1))
    _serve(clear, "c0", 80)

    assert "hello" in clear.sh("c1", "bash -c 'exec 3<>/dev/tcp/c0/80; echo >&3; cat <&3'")


def test_a_restarted_container_is_reached_at_once(clear: Place):
    """Its neighbours continue to send to the hardware address that they know."""
    clear.run(clear.container("c1", index=1))
    addresses = set()
    for _ in range(2):
        clear.run(clear.container("c0", index=0))
        _serve(clear, "c0", 80)
        assert "hello" in clear.sh("c1", "timeout 60 bash -c 'exec 3<>/dev/tcp/c0/80; echo >&3; cat <&3'")
        addresses.add(clear.sh("c0", "cat /sys/class/net/eth0/address"))
        clear.stop("c0")
    assert len(addresses) == 1


def test_any_user_may_bind_port_80_and_ping(clear: Place):
    clear.run(clear.container("c0", index=0))
    sockets = "socket(S, 2, 2, 1) or die; socket(T, 2, 1, 6) or die; bind(T, pack(q{S n x12}, 2, 80)) or die"

    clear.sh("c0", f"setpriv --reuid 33 --regid 33 --clear-groups perl -e '{sockets}'")


def test_a_container_without_a_place_has_loopback_only(clear: Place):
    clear.run(clear.container("alone"))

    assert clear.sh("alone", "ls /sys/class/net").split() == ["lo"]


def test_packages_come_from_the_mirror(outward: Place):
    outward.run(outward.container("c0", index=0))

    outward.sh("c0", "apt-get -q update -o Acquire::Languages=none -o APT::Update::Error-Mode=any")


def test_the_hosts_loopback_is_out_of_reach(outward: Place):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        outward.run(outward.container("c0", index=0))
        gateway = outward.sh("c0", "awk '$2 == \"00000000\" { print $3 }' /proc/net/route").strip()
        addresses = ["127.0.0.1", "10.213.0.1", ".".join(str(byte) for byte in bytes.fromhex(gateway)[::-1])]

        for address in addresses:
            assert outward.attempt("c0", f"timeout 1 bash -c ': < /dev/tcp/{address}/{port}'")[1] != 0


def test_a_published_port_leads_to_its_container(clear: Place):
    ports = [_free_port(), _free_port()]
    places = [clear.container(f"c{index}", index=index) for index in range(2)]
    routes = tuple(
        PortRoute(PublishedPort(host=port, address="127.0.0.1", container=8000, protocol="tcp"), container.network)
        for port, container in zip(ports, places, strict=True)
        if container.network is not None
    )
    clear.run(places[1])
    pasta = egress.start_egress(clear.context, routes)
    try:
        _serve(clear, "c1", 8000)
        assert urllib.request.urlopen(f"http://127.0.0.1:{ports[1]}/", timeout=60).read() == b"hello"
        with pytest.raises(EngineError, match=f"port {ports[0]} on 127.0.0.1 is already in use"):
            egress.start_egress(clear.context, routes)
    finally:
        egress.stop_egress(pasta)
    egress.require_free_port(routes[0].publish)


class _Listener:
    """Receives packets at port 4321 of the gateway."""

    PORT = 4321

    def __init__(self, place: Place) -> None:
        out, into = os.pipe()

        def listen() -> None:
            namespaces.join(place.context.holder)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
                service.bind(("0.0.0.0", self.PORT))
                os.write(into, b"up\n")
                os.write(into, service.recv(99))

        self._child = forks.fork(listen)
        os.close(into)
        self._heard = open(out, "rb", buffering=0)  # noqa: SIM115 - closed by `first`
        assert self._heard.read(3) == b"up\n"

    def first(self) -> bytes:
        """The first that comes."""
        with self._heard:
            text = self._heard.read(99)
        forks.wait(self._child)
        return text


def _gateways_mac(place: Place, name: str) -> bytes:
    return bytes.fromhex(place.sh(name, _NEIGHBOUR).replace(":", ""))


def test_forged_frames_for_the_namespaces_loopback_are_dropped(outward: Place):
    """Proxies of the host are led to from there. A true frame, sent after the forged ones, is what arrives first."""
    sender = outward.container("c0", index=0)
    node = sender.network
    assert node is not None
    outward.run(sender)
    listener = _Listener(outward)
    to, gateway = _gateways_mac(outward, "c0"), bridge.get_gateway(node)
    forged = [
        frames.datagram(node, to=to, sender=source, target="127.0.0.1", port=listener.PORT, text=b"forged")
        for source in (node.address, "127.0.0.1", gateway)
    ]
    true = frames.datagram(node, to=to, sender=node.address, target=gateway, port=listener.PORT, text=b"true")
    frames.send(outward, "c0", *forged, true)
    assert listener.first() == b"true"


_ROUTES = "awk '$10 == \"eth0\" { print $1, $5 }' /proc/net/ipv6_route"


def test_no_container_can_become_the_gateway_of_the_others(clear: Place):
    """One container accepts what another advertises, made to: so it has arrived. The others learn no way by it."""
    if not os.path.exists("/proc/sys/net/ipv6"):
        lacking("no IPv6 in this kernel")
    sender, other, control = (clear.container(f"c{index}", index=index) for index in range(3))
    assert sender.network is not None
    pids = {each.name: clear.run(each).pid for each in (other, control, sender)}
    before = _ways(clear, "c1")
    yes = "echo 1 > /proc/sys/net/ipv6/conf/eth0/accept_ra"
    as_its_root = ["nsenter", "--user", "--net", "--target", str(pids["c2"]), "sh", "-c", yes]
    subprocess.run(as_its_root, check=True)
    advertisement = frames.router_advertisement(sender.network, prefix="2001:db8:bad::")

    def arrived() -> bool:
        frames.send(clear, "c0", advertisement)
        return "20010db80bad" in clear.sh("c2", _ROUTES)

    wait_until(arrived, what="the advertisement")
    assert _ways(clear, "c1") == before
    assert "bad" not in _of_holder(clear, "/proc/net/ipv6_route")


def _ways(place: Place, name: str) -> set[str]:
    """A container's IPv6 routes, but those of link-local addresses, which come up by themselves a moment later."""
    return {line for line in place.sh(name, _ROUTES).splitlines() if not line.startswith("fe80")}


def _of_holder(place: Place, path: str) -> str:
    """A file as the namespaces of the bridge show it."""
    argv = ["nsenter", "-U", "-n", "-t", str(place.context.holder.pid), "cat", path]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def test_no_container_can_spoof_one_that_may_reach_the_host(clear: Place):
    """Permission is by address. The genuine frame, sent after the forged ones, arrives first."""
    trusted, other = (clear.container(f"c{index}", index=index) for index in range(2))
    mine, its = other.network, trusted.network
    assert mine is not None
    assert its is not None
    pasta = egress.start_egress(clear.context, (), (HostPort(_free_port(), its),))
    try:
        clear.run(other)
        listener = _Listener(clear)
        to, gateway = _gateways_mac(clear, "c1"), bridge.get_gateway(mine)

        def frame(node: NetNode, sender: str, *tags: bytes) -> bytes:
            text = b"true" if (node, sender, tags) == (mine, mine.address, ()) else b"forged"
            return frames.datagram(node, to=to, sender=sender, target=gateway, port=listener.PORT, text=text, tags=tags)

        tagged = [(frames.PRIORITY,), (frames.SERVICE_PRIORITY,), (frames.PRIORITY, frames.PRIORITY)]
        forged = [frame(mine, its.address), frame(its, mine.address), *(frame(mine, its.address, *t) for t in tagged)]
        frames.send(clear, "c1", *forged, frame(mine, mine.address))
        assert listener.first() == b"true"
    finally:
        egress.stop_egress(pasta)


@pytest.mark.long
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the program is for x86_64")
def test_the_pasta_of_debian_12_transfers_data(clear: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "passt.deb"
    package.write_bytes(urllib.request.urlopen(_OLD_PASST, timeout=60).read())
    assert hashlib.sha256(package.read_bytes()).hexdigest() == _OLD_PASST_SHA256
    subprocess.run(["dpkg-deb", "-x", package, tmp_path], check=True)
    monkeypatch.setenv("PATH", f"{tmp_path}/usr/bin:{os.environ['PATH']}")
    pasta = egress.start_egress(clear.context, ())
    try:
        assert Path(f"/proc/{pasta.pid}/cmdline").read_text().startswith(str(tmp_path))
        clear.run(clear.container("c0", index=0))
        mirror = socket.gethostbyname("deb.debian.org")
        request = r"printf 'HEAD /debian/ HTTP/1.0\r\nHost: deb.debian.org\r\n\r\n' >&3"
        reply = clear.sh("c0", f'timeout 10 bash -c "exec 3<>/dev/tcp/{mirror}/80; {request}; head -n 1 <&3"')
        assert reply.startswith("HTTP/1.")
    finally:
        egress.stop_egress(pasta)
