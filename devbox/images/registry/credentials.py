"""Registry credentials from `docker login`: `config.json` and credential helpers. Also endpoints and mirrors."""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import ipaddress
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
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


class _HelperResult(NamedTuple):
    """Exit code and output of a credential helper."""

    code: int
    stdout: bytes
    stderr: bytes


def find_credentials(host: str) -> Credentials | None:
    """Return the credentials for a registry, or None: from its helper, the general helper, or the file."""
    place = _get_config_file()
    config = _read_config(place)
    helper, key = _find_helper(config, host, place), _get_key(host)
    if helper and (kept := _query_helper(helper, key, place)):
        return kept
    for name, entry in _read_table(config, "auths", place).items():
        if _parse_host(name) == _parse_host(key) and isinstance(entry, dict):
            return _parse_entry(entry, name, place)
    return None


def store(host: str, known: Credentials) -> str:
    """Store the credentials of a registry, in Docker's credential helper or file; return where, for messages."""
    place = _get_config_file()
    with _lock_config(place):
        config = _read_config(place)
        helper, key = _find_helper(config, host, place), _get_key(host)
        if helper:
            secret = {"ServerURL": key, "Username": known.user, "Secret": known.password}
            _run_helper(helper, "store", json.dumps(secret), place=place, secret=known.password)
            return f"docker-credential-{helper}"
        packed = base64.b64encode(f"{known.user}:{known.password}".encode()).decode()
        _write_entries(place, config, {**_list_others(config, host, place), key: {"auth": packed}})
    return place


def forget(host: str) -> bool:
    """Remove the credentials of a registry; return whether there were any. An entry may be damaged."""
    place = _get_config_file()
    if not os.path.exists(place):
        return False
    with _lock_config(place):
        config = _read_config(place)
        others = _list_others(config, host, place)
        had = others != _read_table(config, "auths", place)
        if (helper := _find_helper(config, host, place)) and _query_helper(helper, _get_key(host), place):
            _run_helper(helper, "erase", _get_key(host), place=place)
            had = True
        if others != _read_table(config, "auths", place):
            _write_entries(place, config, others)
    return had


@contextlib.contextmanager
def _lock_config(place: str) -> Iterator[None]:
    """Serialize changes of the file by the lock of its directory, which is created if missing."""
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    directory = os.open(os.path.dirname(place), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


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
    text = json.dumps({**config, "auths": entries}, indent=2)
    files.write_atomic(os.path.realpath(place), text, mode=0o600)  # the link of a dotfiles manager stays


def _run_helper(helper: str, verb: str, text: str, *, place: str, secret: str = "") -> None:
    """Run a helper that changes its store; its output may repeat the secret, which no message must contain."""
    done = _call_helper(helper, verb, text, place=place)
    if done.code:
        output = (done.stderr or done.stdout).decode(errors="replace")
        hidden = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]} - {""}
        if any(word in output for word in hidden):
            output = "(not shown: the output contains the password)"
        raise RegistryError(
            f"docker-credential-{helper} cannot {verb} a password: it exited with code {done.code}",
            details=output,
            remedy=f"repair it, or remove it from {place}",
        )


def _call_helper(helper: str, verb: str, text: str, *, place: str) -> _HelperResult:
    """Run a credential helper to its end. RegistryError if the host cannot run it."""
    name = f"docker-credential-{helper}"
    if not re.fullmatch(r"[\w.+-]+", helper):
        raise _build_error(place, f"{helper!r} is not the name of a credential helper")
    purpose = f"{verb} a password with {name}"
    if not shutil.which(name):
        raise RegistryError(f"cannot {purpose}: program not found", remedy=f"install it, or remove it from {place}")
    try:
        done = process.run([name, verb], purpose=purpose, input=text.encode(), check=False, timeout=_PATIENCE)
    except OSError as error:
        raise RegistryError(
            f"cannot {purpose}: {error.strerror}", remedy=f"repair it, or remove it from {place}"
        ) from None
    return _HelperResult(done.returncode, done.stdout, done.stderr)


def _get_config_file() -> str:
    return f"{environ.get('DOCKER_CONFIG') or os.path.expanduser('~/.docker')}/config.json"


def _read_config(place: str) -> dict[str, Any]:
    if os.path.exists(place) and not os.path.isfile(place):  # a FIFO or a device may not end
        raise _build_error(place, "not a regular file")
    try:
        text = files.read_text(place)
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


def _query_helper(helper: str, key: str, place: str) -> Credentials | None:
    """Return credentials from the program `docker-credential-HELPER`; None if it has none for the registry."""
    argv = [f"docker-credential-{helper}", "get"]
    done = _call_helper(helper, "get", key, place=place)
    output = done.stdout.decode(errors="replace")
    if done.code:
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
    return RegistryError(
        f"cannot parse {place}: {why}", remedy=f"repair it, or move it away and log in again: mv {place} {place}.old"
    )


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
