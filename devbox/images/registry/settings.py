"""What a person sets about registries: mirrors, and those that may be asked without TLS. Read from the environment."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from devbox.errors import UsageError
from devbox.host import environ
from devbox.images.registry.reference import DOCKER_HUB

MIRRORS = "DEVBOX_REGISTRY_MIRRORS"
INSECURE = "DEVBOX_INSECURE_REGISTRIES"
_HUB_API = "registry-1.docker.io"


class Endpoint(NamedTuple):
    """Where a registry's API answers: `https://host[:port]`, a path before `/v2` or none. `host` names it to people."""

    host: str
    url: str
    is_mirror: bool = False


def endpoints(host: str) -> tuple[Endpoint, ...]:
    """Where to pull what lies at `host`: its mirrors, in the order given, then the registry itself."""
    mirrors = [_mirror(word.partition("=")) for word in _words(MIRRORS)]
    urls = [url for name, url in mirrors if name == host]
    return (*(Endpoint(url.partition("://")[2], url, is_mirror=True) for url in urls), origin(host))


def origin(host: str) -> Endpoint:
    """The registry itself."""
    return Endpoint(host, f"https://{_HUB_API if host == DOCKER_HUB else host}")


def may_be_plain(host: str) -> bool:
    """Whether a registry may be asked without TLS where it has none: on this machine, or when the setting names it."""
    return is_loopback(host) or host in _words(INSECURE)


def is_loopback(host: str) -> bool:
    """Whether `host[:port]` is this machine's own loopback."""
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _mirror(parts: tuple[str, str, str]) -> tuple[str, str]:
    name, _, url = parts
    if not name or not re.match(r"https?://[^/]", url):
        raise UsageError(
            f"{MIRRORS} has {''.join(parts)!r}, which is no REGISTRY=URL",
            remedy=f"export {MIRRORS}=docker.io=https://mirror.example.org",
        )
    return name, url.rstrip("/")


def _words(variable: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", environ.get(variable)) if word]
