"""The instance's egress and published ports: pasta attached to its network namespace, nft inside it.

pasta forwards a published port to a port of the namespace, where nft forwards it to the container.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable

from devbox.errors import EngineError, HostError, PortTaken
from devbox.host import environ, files, programs
from devbox.isolation import forks, liveness, namespaces, syscalls
from devbox.isolation.namespaces import get_pasta_pid_file
from devbox.isolation.network import bridge
from devbox.isolation.types import HostPort, InstanceContext, PortRoute, ProcessRef, PublishedPort

RESOLVER = "169.254.1.53"  # the containers' nameserver; pasta forwards to the host's resolver
UPLINK = "uplink"  # pasta's interface in the namespace
_TUN = "/dev/net/tun"
_FIRST_PORT = 20000  # of the namespace: one per route
_FIRST_HOST_PORT = 19000  # of the namespace's loopback: one per host port
_UNKNOWN = "not supported"  # nft's error for a table family that the kernel does not support
# Segments that conntrack does not recognize. The namespace would answer those of pasta itself, with a reset, and
# forward those of containers with their own address. Debian 12's pasta sends one without flags in every connection.
_DROP_UNTRACKED = f"""chain received {{
    type filter hook input priority filter;
    iifname "{UPLINK}" ct state invalid drop
  }}
  chain passed {{
    type filter hook forward priority filter;
    oifname "{UPLINK}" ct state invalid drop
  }}"""
_LONGEST_WARNING = 4096
_PATIENCE = 5000  # ms until a killed pasta must be gone


def _ignore_warning(_warning: str) -> None:
    """Discard a warning."""


def start_egress(
    context: InstanceContext,
    routes: tuple[PortRoute, ...],
    host_ports: tuple[HostPort, ...] = (),
    *,
    warn: Callable[[str], None] = _ignore_warning,
) -> ProcessRef:
    """Start pasta for the instance; forward published ports to containers, and containers to host ports.

    Raises PortTaken if a host port is taken ("port 8000 on 127.0.0.1 is taken"), HostError if pasta, nft or
    /dev/net/tun is missing. `warn` receives pasta's output although it runs. pasta is a child of this process (its
    subreaper) and exits when `RUN_DIR/netns` is removed.
    """
    require_tun()
    pasta, led = programs.find("pasta"), list_forwarded_ports(host_ports)
    for route in routes:
        require_free_port(route.publish)
    pid_file, ports = get_pasta_pid_file(context.run_dir), [*build_port_flags(routes), *build_host_port_flags(led)]
    loading = forks.fork(lambda: load_rules(context, routes, host_ports, led=led))  # in parallel: each runs a program
    try:
        running = start_pasta(pasta, context, pid_file=pid_file, ports=ports, warn=warn)
    except BaseException:
        with contextlib.suppress(EngineError):
            forks.wait(loading)
        for route in routes:
            require_free_port(route.publish)  # PortTaken if the port was taken since the check
        raise
    try:
        forks.wait(loading)
    except EngineError:
        stop_egress(running)
        raise
    return running


def list_forwarded_ports(host_ports: tuple[HostPort, ...]) -> tuple[int, ...]:
    """Return the host's loopback ports that pasta forwards to, in the order of pasta's own ports. Pure."""
    return tuple(sorted({each.port for each in host_ports}))


def load_rules(
    context: InstanceContext, routes: tuple[PortRoute, ...], host_ports: tuple[HostPort, ...], *, led: tuple[int, ...]
) -> None:
    """Load all nft rules atomically; established connections continue.

    `routes` are the running pasta's, in its order; `led` its host ports, a superset of those in `host_ports`.
    """
    rules = build_nft_rules(routes, host_ports, led)
    try:
        apply_nft(context, rules + build_bridge_rules(host_ports))
    except EngineError as error:  # as reported by the child
        if not host_ports or _UNKNOWN not in error.details:
            raise
        apply_nft(context, rules)  # the kernel cannot filter on bridges; `doctor` reports that


def apply_nft(context: InstanceContext, rules: str) -> None:
    """Apply rules with nft in the instance's namespace, atomically; raise an error if nft refuses them."""
    nft = programs.find("nft")

    def tell() -> None:
        programs.call([nft, "-f", "-"], purpose="set the network's firewall rules", text=rules.encode())

    namespaces.run_inside(context.holder, tell)


def stop_egress(pasta: ProcessRef) -> None:
    """Stop pasta; return when its ports are free."""
    if not liveness.is_alive(pasta) or (handle := liveness.open_pidfd(pasta.pid)) is None:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            waiter = select.poll()
            waiter.register(handle, select.POLLIN)
            if not waiter.poll(_PATIENCE):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                waiter.poll(_PATIENCE)
    finally:
        os.close(handle)


def require_free_port(publish: PublishedPort) -> None:
    """Raise PortTaken if another program holds the host port, EngineError if binding is not permitted."""
    family = socket.AF_INET6 if ":" in publish.address else socket.AF_INET
    kind = socket.SOCK_DGRAM if publish.protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((publish.address, publish.host))
        except PermissionError:
            raise EngineError(
                f"cannot publish port {publish.host} on {publish.address}: only root may open it",
                remedy="publish a port above 1023",
            ) from None
        except OSError as error:
            raise PortTaken(
                f"port {publish.host} on {publish.address} is already in use",
                details=error.strerror or "",
                remedy="free it, or publish another port",
            ) from None


def start_pasta(
    pasta: str,
    context: InstanceContext,
    *,
    pid_file: str,
    ports: list[str],
    warn: Callable[[str], None] = _ignore_warning,
) -> ProcessRef:
    """Start pasta on the holder's network namespace, with these published ports.

    pasta runs if it exits with 0 and has written its pid: other output is a warning.

    Root pins the namespace on a file: pasta drops the capabilities that opening the holder's /proc entry requires.
    """
    rootless, holder = context.idmap.rootless, context.holder
    netns = f"/proc/{holder.pid}/ns/net" if rootless else f"{context.run_dir}/netns"
    place = ["--userns", f"/proc/{holder.pid}/ns/user"] if rootless else ["--runas", "0"]
    argv = [pasta, *place, "--netns", netns, *build_pasta_flags(), *ports, "-P", pid_file]

    output = os.memfd_create("pasta")

    def work() -> None:
        if not rootless:
            _pin_netns(holder, netns)
        os.write(output, programs.call(argv, purpose="connect the instance to the network")[:_LONGEST_WARNING])

    with contextlib.suppress(FileNotFoundError):
        os.unlink(pid_file)
    try:
        forks.run_in_child(work)
        warning = os.pread(output, _LONGEST_WARNING, 0).decode(errors="replace").strip()
    finally:
        os.close(output)
    pid = (files.read_text(pid_file) or "").strip()
    running = liveness.identify(int(pid)) if pid.isdigit() else None
    if running is None:
        raise EngineError(
            "cannot connect the instance to the network: pasta exited immediately",
            details=warning,
            remedy="run devbox up again; if that fails, find the cause with: devbox doctor",
        )
    if warning:
        warn(warning)
    return running


def build_pasta_flags() -> list[str]:
    """Return pasta's flags for egress and DNS, without the host's loopback or open ports. Pure."""
    return ["--config-net", "-q", "-I", UPLINK, "--no-map-gw", "--dns-forward", RESOLVER, "-U", "none"]


def build_port_flags(routes: tuple[PortRoute, ...]) -> list[str]:
    """Return the flags that publish ports: `ADDRESS/HOST:PORT`; PORT is the route's own in the namespace. Pure."""
    flags = []
    for option, protocol in (("-t", "tcp"), ("-u", "udp")):
        desired = [
            f"{route.publish.address}/{route.publish.host}:{_FIRST_PORT + number}"
            for number, route in enumerate(routes)
            if route.publish.protocol == protocol
        ]
        for port in desired or ["none"]:
            flags += [option, port]
    return flags


def build_host_port_flags(led: tuple[int, ...]) -> list[str]:
    """Return the flags that forward ports of the namespace's loopback to the host's. Pure."""
    leads = [f"{_FIRST_HOST_PORT + number}:{port}" for number, port in enumerate(led)]
    return [word for lead in leads or ["none"] for word in ("-T", lead)]


def build_nft_rules(
    routes: tuple[PortRoute, ...], host_ports: tuple[HostPort, ...] = (), led: tuple[int, ...] = ()
) -> str:
    """Build the nft table of the instance's namespace: published ports in, everything else out. Pure.

    A port of the host's loopback is reachable only from the containers that may use it: with route_localnet a container
    could send frames to 127.0.0.1, so these are dropped.
    """
    arrivals = [
        f"fib daddr type local meta nfproto ipv4 {route.publish.protocol} dport {_FIRST_PORT + number} "
        f"dnat ip to {route.node.address}:{route.publish.container}"
        for number, route in enumerate(routes)
    ]
    arrivals += [
        f"fib daddr type local meta nfproto ipv6 {route.publish.protocol} dport {_FIRST_PORT + number} "
        f"dnat ip6 to [{route.node.address6}]:{route.publish.container}"
        for number, route in enumerate(routes)
        if route.node.address6
    ]
    inward = "\n    ".join(arrivals)
    outward = "\n    ".join(
        f"ip saddr {each.node.address} ip daddr {bridge.get_gateway(each.node)} tcp dport {each.port} "
        f"dnat ip to 127.0.0.1:{_FIRST_HOST_PORT + led.index(each.port)}"
        for each in host_ports
    )
    return f"""table inet devbox {{}}
delete table inet devbox
table inet devbox {{
  chain forged {{
    type filter hook prerouting priority raw;
    iifname "{bridge.BRIDGE}" ip daddr 127.0.0.0/8 drop
  }}
  chain arriving {{
    type nat hook prerouting priority dstnat;
    {outward}
    {inward}
  }}
  {_DROP_UNTRACKED}
  chain local {{
    type nat hook output priority -100;
    {inward}
  }}
  chain handed {{
    type nat hook input priority 100;
    ip daddr 127.0.0.1 ip saddr != 127.0.0.0/8 snat ip to 127.0.0.1
  }}
  chain leaving {{
    type nat hook postrouting priority srcnat;
    oifname "{UPLINK}" masquerade
    oifname "{bridge.BRIDGE}" ip saddr 127.0.0.0/8 masquerade
  }}
}}
"""


def build_bridge_rules(host_ports: tuple[HostPort, ...]) -> str:
    """Build the rules that reserve addresses with access to host ports for their own containers. Pure.

    The inet table matches addresses, which a container can forge. Tagged frames, which these rules cannot match, are
    dropped. Stale rules are harmless: an address always has the same bridge port.
    """
    if not host_ports:
        return ""
    lines = ["ether type { 8021q, 8021ad } drop"]
    for node in dict.fromkeys(each.node for each in host_ports):
        others = f'iifname != "{bridge.get_port_name(node)}"'
        lines += [f"{others} ether saddr {bridge.get_mac(node).hex(':')} drop"]
        lines += [f"{others} {field} {node.address} drop" for field in ("ip saddr", "arp saddr ip")]
    held = "\n    ".join(lines)
    return f"""table bridge devbox {{}}
delete table bridge devbox
table bridge devbox {{
  chain forged {{
    type filter hook prerouting priority -300;
    {held}
  }}
}}
"""


def require_tun() -> None:
    """Raise HostError if this user cannot open /dev/net/tun, which pasta requires."""
    try:
        os.close(os.open(_TUN, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        raise HostError(
            f"cannot connect containers to the network: {environ.get_user_name()} may not open {_TUN}",
            details="to keep this permission across reboots, see: devbox docs getting-started",
            remedy=f"sudo setfacl -m u:{environ.get_user_name()}:rw {_TUN}",
        ) from None
    except OSError:  # no such file, or no driver
        raise HostError(
            f"cannot connect containers to the network: missing {_TUN}", remedy="sudo modprobe tun"
        ) from None


def _pin_netns(holder: ProcessRef, path: str) -> None:
    """Bind-mount the holder's network namespace at `path`, in a new mount namespace of this process."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount(None, "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    syscalls.mount(f"/proc/{holder.pid}/ns/net", path, flags=syscalls.MS_BIND)
