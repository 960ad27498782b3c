"""Host settings for containers with network access: the CA bundle, the proxy and the package mirrors.

They are never part of layers or keys.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from devbox.errors import HostError
from devbox.host import environ

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

CA_TARGET = "/.devbox/ca.crt"
CA_VARIABLES = (
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
)
PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy")
MIRROR_VARIABLES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "npm_config_registry", "GOPROXY")
_SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"
_NEVER_PROXIED = ("localhost", "127.0.0.1", "::1")


class HostSettings(NamedTuple):
    """Environment variables, and the host file to bind read-only at `CA_TARGET` ("" for none).

    `ports` are ports of the host's loopback in the settings; `env` has them at another address.
    """

    env: dict[str, str]
    ca_file: str
    ports: tuple[int, ...] = ()


def collect_settings(gateway: str, *, direct: tuple[str, ...] = ()) -> HostSettings:
    """Return the host's settings for a container, with proxies in upper and lower case, as programs differ.

    Addresses on the host's loopback are replaced by `gateway`. `direct` are hosts that bypass the proxy: other
    containers.
    """
    env, bundle, _ = collect_authorities()
    moved: set[int] = set()
    for name in (*PROXY_VARIABLES[:2], *MIRROR_VARIABLES):
        if value := read_setting(name):
            env[name], ports = translate_loopback(value, gateway)
            moved.update(ports)
    if any(name in env for name in PROXY_VARIABLES):
        env["no_proxy"] = ",".join(
            dict.fromkeys((*_split(read_setting("no_proxy")), *_NEVER_PROXIED, gateway, *direct))
        )
    env |= {name.upper(): env[name] for name in PROXY_VARIABLES if name in env}
    return HostSettings(env, bundle, tuple(sorted(moved)))


def create_tls_context() -> ssl.SSLContext:
    """Create the TLS context of devbox's own connections: the host's CAs, and curl's strictness.

    Newer Pythons also refuse CAs without RFC 5280 extensions such as keyUsage, which private ones often omit.
    """
    import ssl

    context = ssl.create_default_context(cafile=find_ca_file() or None)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def collect_authorities() -> HostSettings:
    """Return only the CA bundle, for a container with an egress list, which a proxy would bypass."""
    bundle = find_ca_file()
    return HostSettings(dict.fromkeys(CA_VARIABLES, CA_TARGET) if bundle else {}, bundle)


def read_setting(name: str) -> str:
    """Return a setting given in upper or lower case; "" if unset."""
    return environ.get(name) or environ.get(name.upper()) or environ.get(name.lower())


def translate_loopback(value: str, gateway: str) -> tuple[str, tuple[int, ...]]:
    """Replace loopback addresses in a setting by `gateway`; return it with their ports. Pure."""
    if not any(sign in value for sign in ("localhost", "127.", "[::1]")):
        return value, ()
    import re

    ports: list[int] = []

    def exchange(match: re.Match[str]) -> str:
        port = int(match["port"] or {"https://": 443}.get(match["scheme"], 80))
        ports.append(port)
        return f"{match['scheme']}{match['user'] or ''}{gateway}:{port}"

    own = r"(?:localhost|127(?:\.\d+){3}|\[::1\])"
    where = rf"(?P<scheme>https?://|(?<![^\s,|]))(?P<user>[^/@\s]+@)?{own}(?::(?P<port>\d+))?(?=[/\s,|]|$)"
    return re.sub(where, exchange, value), tuple(ports)


def _split(value: str) -> tuple[str, ...]:
    return tuple(part for part in (piece.strip() for piece in value.split(",")) if part)


def find_ca_file() -> str:
    """Return the path of the host's CA bundle, configured or the system's; "" if there is none.

    Raises HostError if DEVBOX_CA_FILE is unreadable: a fallback would only fail later.
    """
    path = environ.get("DEVBOX_CA_FILE")
    if path and not os.access(path, os.R_OK):
        raise HostError(
            f"invalid value for DEVBOX_CA_FILE: cannot read {path}", remedy="export DEVBOX_CA_FILE=FILE, or unset it"
        )
    for candidate in (path, environ.get("SSL_CERT_FILE"), _SYSTEM_CA):
        if candidate and os.path.isfile(candidate):
            return os.path.realpath(candidate)
    return ""
