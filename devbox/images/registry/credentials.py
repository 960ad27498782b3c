"""Registry credentials from `docker login`: `config.json` and credential helpers. Also endpoints and mirrors."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from devbox.errors import DevboxError, RegistryError, UsageError
from devbox.host import environ, files, process
from devbox.images.registry.reference import DOCKER_HUB
from devbox.images.store import documents

_HUB_KEY = "https://index.docker.io/v1/"
_TOKEN_USER = "<token>"  # noqa: S105 - helpers' marker for an identity token
_NOT_FOUND = "credentials not found"
_PATIENCE = 60.0


class Credentials(NamedTuple):
    """A user and password, or an identity token (then both others are empty)."""

    user: str = ""
    password: str = ""
    identity_token: str = ""


def find_credentials(host: str) -> Credentials | None:
    """Return the credentials for a registry, or None: from its helper, the general helper, or the file."""
    place = _get_config_file()
    config = _read_config(place)
    helper, key = _find_helper(config, host, place), _get_key(host)
    if helper and (kept := _query_helper(helper, key)):
        return kept
    for name, entry in _read_table(config, "auths", place).items():
        if _parse_host(name) == _parse_host(key) and isinstance(entry, dict):
            return _parse_entry(entry, name, place)
    return None


def store(host: str, known: Credentials) -> str:
    """Store the credentials of a registry, in Docker's credential helper or file; return where, for messages."""
    place = _get_config_file()
    config = _read_config(place)
    helper, key = _find_helper(config, host, place), _get_key(host)
    if helper:
        secret = {"ServerURL": key, "Username": known.user, "Secret": known.password}
        _run_helper(helper, "store", json.dumps(secret))
        return f"docker-credential-{helper}"
    packed = base64.b64encode(f"{known.user}:{known.password}".encode()).decode()
    _write_entries(place, config, {**_list_others(config, host, place), key: {"auth": packed}})
    return place


def forget(host: str) -> bool:
    """Remove the credentials of a registry; return whether there were any."""
    place = _get_config_file()
    config = _read_config(place)
    had = find_credentials(host) is not None
    if had and (helper := _find_helper(config, host, place)):
        _run_helper(helper, "erase", _get_key(host))
    others = _list_others(config, host, place)
    if others != _read_table(config, "auths", place):
        _write_entries(place, config, others)
    return had


def _get_key(host: str) -> str:
    return _HUB_KEY if host == DOCKER_HUB else host


def _find_helper(config: Mapping[str, Any], host: str, place: str) -> str:
    """Return the credential helper of a registry; "" if the file keeps its password."""
    helpers = _read_table(config, "credHelpers", place)
    return _parse_text(helpers.get(host)) or _parse_text(config.get("credsStore"))


def _list_others(config: Mapping[str, Any], host: str, place: str) -> dict[str, Any]:
    """Return the entries of the file for other registries."""
    own = _parse_host(_get_key(host))
    return {name: entry for name, entry in _read_table(config, "auths", place).items() if _parse_host(name) != own}


def _write_entries(place: str, config: Mapping[str, Any], entries: Mapping[str, Any]) -> None:
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    files.write_atomic(place, json.dumps({**config, "auths": entries}, indent=2), mode=0o600)


def _run_helper(helper: str, verb: str, text: str) -> None:
    argv = [f"docker-credential-{helper}", verb]
    process.run(argv, purpose=f"{verb} a password with {argv[0]}", input=text.encode(), timeout=_PATIENCE)


def _get_config_file() -> str:
    return f"{environ.get('DOCKER_CONFIG') or os.path.expanduser('~/.docker')}/config.json"


def _read_config(place: str) -> dict[str, Any]:
    try:
        text = files.read_text(place, waits=True)
        return documents.parse(text.encode()) if text else {}
    except ValueError as error:
        raise _build_error(place, str(error)) from None


def _read_table(config: Mapping[str, Any], key: str, place: str) -> dict[str, Any]:
    table = config.get(key) or {}
    if not isinstance(table, dict):
        raise _build_error(place, f"{key} is not an object")
    return table


def _parse_host(name: str) -> str:
    """Return the host of an entry: `https://ghcr.io/v1/` and `ghcr.io` are the same registry."""
    return name.partition("://")[2].partition("/")[0] or name.partition("/")[0]


def _parse_entry(entry: Mapping[str, Any], name: str, place: str) -> Credentials | None:
    if token := _parse_text(entry.get("identitytoken")):
        return Credentials(identity_token=token)
    packed = _parse_text(entry.get("auth"))
    if not packed:
        user, password = _parse_text(entry.get("username")), _parse_text(entry.get("password"))
        return Credentials(user, password) if user else None
    try:
        user, _, password = base64.b64decode(packed, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise _build_error(place, f"the entry of {name} is not base64") from None
    return Credentials(user, password.rstrip("\0"))


def _query_helper(helper: str, key: str) -> Credentials | None:
    """Return credentials from the program `docker-credential-HELPER`; None if it has none for the registry."""
    argv = [f"docker-credential-{helper}", "get"]
    done = process.run(
        argv, purpose=f"get a password from {argv[0]}", input=key.encode(), check=False, timeout=_PATIENCE
    )
    output = done.stdout.decode(errors="replace")
    if done.returncode:
        if _NOT_FOUND in output + done.stderr.decode(errors="replace"):
            return None
        raise RegistryError(
            f"{argv[0]} cannot provide the password for {key}",
            details=output or done.stderr.decode(errors="replace"),
            remedy=f"reproduce it with: echo {key} | {argv[0]} get",
        )
    try:
        answer = documents.parse(done.stdout)
        user, secret = documents.read_text(answer, "Username"), documents.read_text(answer, "Secret")
        understood = {"Username", "Secret"} <= answer.keys()
    except ValueError:
        understood = False
    if not understood:
        raise RegistryError(
            f"unexpected output of {argv[0]}: expected a user name and a password",
            remedy=f"reproduce it with: echo {key} | {argv[0]} get",
        )
    return Credentials(identity_token=secret) if user == _TOKEN_USER else Credentials(user, secret)


def _parse_text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _build_error(place: str, why: str) -> DevboxError:
    return RegistryError(f"cannot parse {place}: {why}", remedy="repair it, or write it again: devbox login")


MIRRORS = "DEVBOX_REGISTRY_MIRRORS"
INSECURE = "DEVBOX_INSECURE_REGISTRIES"
_HUB_API = "registry-1.docker.io"


class Endpoint(NamedTuple):
    """A registry API endpoint: `https://host[:port]` with an optional path before `/v2`. `host` is for messages."""

    host: str
    url: str
    is_mirror: bool = False


def list_endpoints(host: str) -> tuple[Endpoint, ...]:
    """Return the endpoints to pull from: the host's mirrors in configured order, then the registry itself."""
    mirrors = [_parse_mirror(word.partition("=")) for word in _read_words(MIRRORS)]
    urls = [url for name, url in mirrors if name == host]
    return (*(Endpoint(url.partition("://")[2], url, is_mirror=True) for url in urls), get_origin(host))


def get_origin(host: str) -> Endpoint:
    """Return the registry's own endpoint."""
    return Endpoint(host, f"https://{_HUB_API if host == DOCKER_HUB else host}")


def can_use_http(host: str) -> bool:
    """Return whether plain HTTP is permitted as a fallback: on loopback, or if configured."""
    return is_loopback(host) or host in _read_words(INSECURE)


def is_loopback(host: str) -> bool:
    """Return whether `host[:port]` is a loopback address."""
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _parse_mirror(parts: tuple[str, str, str]) -> tuple[str, str]:
    name, _, url = parts
    if not name or not re.match(r"https?://[^/]", url):
        raise UsageError(
            f'invalid value for {MIRRORS}: expected REGISTRY=URL, got "{"".join(parts)}"',
            remedy=f"export {MIRRORS}=docker.io=https://mirror.example.org",
        )
    return name, url.rstrip("/")


def _read_words(variable: str) -> list[str]:
    return [word for word in re.split(r"[,\s]+", environ.get(variable)) if word]
