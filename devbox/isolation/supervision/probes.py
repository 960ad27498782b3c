"""One attempt to reach a service, made in a forked child: the exit code is the answer, stdout says why not."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from devbox.isolation import forks, syscalls

_GOOD = range(200, 400)


def http(address: str, port: int, path: str, timeout: float) -> None:
    """GET a path; a status from 200 to 399 is good. Raises OSError with the reason."""
    with socket.create_connection((address, port), timeout=timeout) as link:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: devbox\r\nConnection: close\r\n\r\n"
        link.sendall(request.encode())
        head = link.recv(1024).split(b"\r\n", 1)[0].decode(errors="replace")
    status = head.partition(" ")[2].partition(" ")[0]
    if not status.isdigit() or int(status) not in _GOOD:
        raise OSError(f"GET {path} answered {head or 'nothing'}")


def tcp(address: str, port: int, timeout: float) -> None:
    """Connect, and no more. Raises OSError with the reason."""
    socket.create_connection((address, port), timeout=timeout).close()


def fork_probe(user_ns: str, net_ns: str, attempt: Callable[[], None], *, port: int, output: int) -> int:
    """Make an attempt in a child that has joined these namespaces (`user_ns` "" where the caller may do without).

    What it says about a failure is for a person: `port` is the one that was tried.
    """

    def work() -> None:
        if user_ns:
            syscalls.setns(user_ns)
        syscalls.setns(net_ns)
        try:
            attempt()
        except ConnectionRefusedError:
            os.write(output, f"nothing listens on its port {port} (servers must listen on 0.0.0.0)".encode())
            os._exit(1)
        except OSError as error:
            os.write(output, f"port {port}: {error.strerror or error}".encode())
            os._exit(1)

    child = forks.fork(work)
    os.close(child.error_fd)
    return child.pid
