"""What of the host is carried into containers that reach out: the CA bundle and the proxy. Never in layers or keys."""

from __future__ import annotations

import os
from typing import NamedTuple

from devbox.host import environ

CA_TARGET = "/.devbox/ca.crt"
CA_VARIABLES = (
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
)
PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy")
_SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"


class Carry(NamedTuple):
    """Environment variables to set, and the host file to bind read-only at `CA_TARGET` ("" where there is none)."""

    env: dict[str, str]
    ca_file: str


def carry() -> Carry:
    """The host's settings as a container needs them. Proxies in both cases, since programs disagree on it."""
    ca_file = _ca_file()
    env = dict.fromkeys(CA_VARIABLES, CA_TARGET) if ca_file else {}
    for name in PROXY_VARIABLES:
        if value := environ.get(name) or environ.get(name.upper()):
            env[name] = env[name.upper()] = value
    return Carry(env, ca_file)


def _ca_file() -> str:
    for candidate in (environ.get("DEVBOX_CA_FILE"), environ.get("SSL_CERT_FILE"), _SYSTEM_CA):
        if candidate and os.path.isfile(candidate):
            return os.path.realpath(candidate)
    return ""
