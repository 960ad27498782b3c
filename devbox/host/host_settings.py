"""What of the host is carried into containers that reach out: the CA bundle, the proxy and the package mirrors.

Never in layers or keys.
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
    """Environment variables to set, and the host file to bind read-only at `CA_TARGET` ("" where there is none).

    `ports` are those of the host's own loopback that the settings name: `env` has them at another address.
    """

    env: dict[str, str]
    ca_file: str
    ports: tuple[int, ...] = ()


def collect_settings(gateway: str, *, direct: tuple[str, ...] = ()) -> HostSettings:
    """The host's settings as a container needs them. Proxies in both cases, since programs disagree on it.

    A proxy or mirror on the host's own loopback is named as `gateway` instead. `direct` are hosts that are never asked
    for through a proxy: the other containers.
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
    """How devbox's own connections verify servers: by the host's authorities, as strictly as curl does.

    Newer Pythons also refuse authorities that lack extensions of RFC 5280, such as keyUsage; private ones often do.
    """
    import ssl

    context = ssl.create_default_context(cafile=find_ca_file() or None)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def collect_authorities() -> HostSettings:
    """The CA bundle alone: for a container that may reach but a few hosts, to which a proxy would be a way round."""
    bundle = find_ca_file()
    return HostSettings(dict.fromkeys(CA_VARIABLES, CA_TARGET) if bundle else {}, bundle)


def read_setting(name: str) -> str:
    """The value of a setting that is written in either case; "" when it is not set."""
    return environ.get(name) or environ.get(name.upper()) or environ.get(name.lower())


def translate_loopback(value: str, gateway: str) -> tuple[str, tuple[int, ...]]:
    """A setting with each address on this machine's loopback exchanged for `gateway`, and the ports of those. Pure."""
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
    """The host's CA bundle: what is set, or the system's; "" when there is none.

    HostError when the one that is meant for devbox can't be read: any other would only fail later, and elsewhere.
    """
    wanted = environ.get("DEVBOX_CA_FILE")
    if wanted and not os.access(wanted, os.R_OK):
        raise HostError(
            f"DEVBOX_CA_FILE names {wanted}, which is no file that you can read",
            remedy="export DEVBOX_CA_FILE=FILE, or unset it",
        )
    for candidate in (wanted, environ.get("SSL_CERT_FILE"), _SYSTEM_CA):
        if candidate and os.path.isfile(candidate):
            return os.path.realpath(candidate)
    return ""
