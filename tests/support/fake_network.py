"""The networks of `support.fake_engine`: a namespace with a bridge for each instance, /etc/hosts, published ports."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from devbox.errors import EngineError
from devbox.model.container import ContainerSpec

SUBNET = "10.77"
BRIDGE = f"""set -e
ip link add br0 type bridge ageing_time 0
ip address add {SUBNET}.0.1/16 dev br0
ip link set br0 up
ip link set lo up
"""


def create_network(run: str) -> None:
    """Create the network of an instance, unless it exists."""
    os.makedirs(run, mode=0o700, exist_ok=True)
    if not os.path.ismount(f"{run}/netns"):
        with open(f"{run}/netns", "ab"):
            subprocess.run(["unshare", f"--net={run}/netns", "sh", "-c", BRIDGE], check=True)


def remove_network(run: str) -> None:
    """Remove the network of an instance; its containers have ended."""
    if os.path.isdir(run):
        stop_forwarder(run)
        subprocess.run(["umount", "-q", f"{run}/netns"], check=False)


def read_network(run: str) -> dict[str, Any]:
    """Return the addresses of names and of one-shots, and the published ports."""
    try:
        with open(f"{run}/network", encoding="utf-8") as file:
            return json.load(file)  # type: ignore[no-any-return]
    except FileNotFoundError:
        return {"names": {}, "guests": {}, "published": {}}


@contextlib.contextmanager
def change_network(run: str) -> Iterator[dict[str, Any]]:
    """Yield the network for changes, which are written, with /etc/hosts, at the end."""
    with open(f"{run}/network.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        network = read_network(run)
        try:
            yield network
        finally:
            with open(f"{run}/network.new", "w", encoding="utf-8") as file:
                json.dump(network, file)
            os.rename(f"{run}/network.new", f"{run}/network")
            write_hosts(run, network)


def refresh_hosts(run: str) -> None:
    """Update /etc/hosts, after a container with aliases has started or ended."""
    with change_network(run):
        pass


def write_hosts(run: str, network: Mapping[str, Any]) -> None:
    """Write the instance's /etc/hosts in place: it is mounted in containers."""
    from support.fake_container import load, read_rows

    addresses = network["names"] | network["guests"]
    lines = ["127.0.0.1\tlocalhost", *(f"{address}\t{name}" for name, address in addresses.items())]
    for name, row in read_rows(run).items():
        if row["pid"] and name in addresses:
            aliases = load(f"{run}/{name}/launch")["request"].spec.aliases
            lines += [f"{addresses[name]}\t{alias}" for alias in aliases]
    text = "\n".join([*lines, ""]).encode()
    hosts = os.open(f"{run}/hosts", os.O_RDWR | os.O_CREAT, 0o644)
    os.pwrite(hosts, text, 0)
    os.ftruncate(hosts, len(text))
    os.close(hosts)


def find_address(network: Mapping[str, Any], *more: Mapping[str, str]) -> str:
    """Return a free address."""
    taken = {address for each in (network["names"], network["guests"], *more) for address in each.values()}
    numbers = (f"{SUBNET}.{number // 256}.{number % 256}" for number in range(2, 65535))
    return next(address for address in numbers if address not in taken)


def read_address(run: str, name: str) -> str:
    """Return the address of a container; that of its loopback if it has no other."""
    network = read_network(run)
    return str((network["names"] | network["guests"]).get(name, "127.0.0.1"))


def connect(run: str, spec: ContainerSpec, pid: str) -> None:
    """Connect a container to its network. Called by its pid 1, which the host calls `pid`."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    address = read_address(run, spec.name)
    if spec.isolation.network == "none" or address.startswith("127."):
        return
    ether = "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))  # neighbours know it already
    pair = f"link add eth0 address {ether} type veth peer name v{pid} netns {run}/netns"
    subprocess.run(["ip", *pair.split()], check=True)
    subprocess.run(["ip", "address", "add", f"{address}/16", "dev", "eth0"], check=True)
    subprocess.run(["ip", "link", "set", "eth0", "up"], check=True)
    subprocess.run(["nsenter", f"--net={run}/netns", "ip", "link", "set", f"v{pid}", "master", "br0", "up"], check=True)


# Published ports.


def publish(run: str, network: dict[str, Any], desired: dict[str, list[dict[str, Any]]]) -> None:
    """Forward the host's ports to containers; those of before are closed."""
    from support.fake_container import spawn

    if desired == network["published"]:
        return
    stop_forwarder(run)
    network["published"] = {}
    with contextlib.ExitStack() as opened:
        ways = []
        for name, ports in desired.items():
            for port in ports:
                server = opened.enter_context(bind(port))
                ways.append((server.fileno(), port["protocol"], network["names"][name], port["container"]))
        if ways:
            fds, start = tuple(way[0] for way in ways), ("nsenter", f"--net={run}/netns")
            spawn("support.fake_network", run, json.dumps(ways), log=f"{run}/forwarder.log", fds=fds, start=start)
            while not os.path.exists(f"{run}/forwarder"):
                time.sleep(0.01)
    network["published"] = desired


def bind(port: Mapping[str, Any]) -> socket.socket:
    """Open a port of the host; raise EngineError if it is taken."""
    family = socket.AF_INET6 if ":" in port["address"] else socket.AF_INET
    where = (port["address"], port["host"])
    try:
        if port["protocol"] == "tcp":
            return socket.create_server(where, family=family)
        server = socket.socket(family, socket.SOCK_DGRAM)
        server.bind(where)
    except OSError as error:
        raise EngineError(f"cannot publish port {port['host']}: {error.strerror}", remedy="choose another") from None
    return server


def stop_forwarder(run: str) -> None:
    """End the process that forwards the instance's ports, if there is one."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        with open(f"{run}/forwarder", encoding="ascii") as file:
            pid = int(file.read())
        os.unlink(f"{run}/forwarder")
        os.kill(pid, signal.SIGKILL)
        while os.path.exists(f"/proc/{pid}/ns/net"):
            time.sleep(0.01)


def forward(run: str, ways: list[tuple[int, str, str, int]]) -> None:
    """Forward connections and datagrams of these sockets. In the instance's network namespace."""
    for fd, protocol, address, port in ways:
        work = forward_connections if protocol == "tcp" else forward_datagrams
        threading.Thread(target=work, args=(socket.socket(fileno=fd), (address, port))).start()
    with open(f"{run}/forwarder.new", "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    os.rename(f"{run}/forwarder.new", f"{run}/forwarder")


def forward_connections(server: socket.socket, target: tuple[str, int]) -> None:
    while True:
        client = server.accept()[0]
        threading.Thread(target=join_connections, args=(client, target)).start()


def join_connections(client: socket.socket, target: tuple[str, int]) -> None:
    with client, contextlib.suppress(OSError), socket.create_connection(target) as service:
        back = threading.Thread(target=copy, args=(service, client))
        back.start()
        copy(client, service)
        back.join()


def copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def forward_datagrams(server: socket.socket, target: tuple[str, int]) -> None:
    links: dict[Any, socket.socket] = {}
    while True:
        data, client = server.recvfrom(1 << 16)
        if client not in links:
            links[client] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            links[client].connect(target)
            threading.Thread(target=answer, args=(links[client], server, client)).start()
        with contextlib.suppress(OSError):
            links[client].send(data)


def answer(link: socket.socket, server: socket.socket, client: Any) -> None:
    while True:
        with contextlib.suppress(OSError):  # nothing listens yet
            server.sendto(link.recv(1 << 16), client)


if __name__ == "__main__":
    forward(sys.argv[1], json.loads(sys.argv[2]))
