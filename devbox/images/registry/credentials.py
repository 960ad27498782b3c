"""Who a person is to a registry: what `docker login` keeps, in `config.json` and in credential helpers."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from devbox.errors import DevboxError, RegistryError
from devbox.host import environ, files, process
from devbox.images import documents
from devbox.images.registry.reference import DOCKER_HUB

_HUB_KEY = "https://index.docker.io/v1/"
_TOKEN_USER = "<token>"  # noqa: S105 - how helpers say that the secret is an identity token
_NOT_FOUND = "credentials not found"
_PATIENCE = 60.0


class Credentials(NamedTuple):
    """A name and its password, or an identity token (then both others are empty)."""

    user: str = ""
    password: str = ""
    identity_token: str = ""


def find(host: str) -> Credentials | None:
    """The credentials for a registry, None where there are none: a helper of its own, the general one, the file."""
    place = _config_file()
    config = _read(place)
    key = _HUB_KEY if host == DOCKER_HUB else host
    helper = _text(_table(config, "credHelpers", place).get(host)) or _text(config.get("credsStore"))
    if helper and (kept := _ask(helper, key)):
        return kept
    for name, entry in _table(config, "auths", place).items():
        if _host_of(name) == _host_of(key) and isinstance(entry, dict):
            return _entry(entry, name, place)
    return None


def where() -> str:
    """The file credentials are looked for in."""
    return _config_file()


def _config_file() -> str:
    return f"{environ.get('DOCKER_CONFIG') or os.path.expanduser('~/.docker')}/config.json"


def _read(place: str) -> dict[str, Any]:
    try:
        text = files.read_text(place, waits=True)
        return documents.parse(text.encode()) if text else {}
    except ValueError as error:
        raise _broken(place, str(error)) from None


def _table(config: Mapping[str, Any], key: str, place: str) -> dict[str, Any]:
    table = config.get(key) or {}
    if not isinstance(table, dict):
        raise _broken(place, f"{key} is no object")
    return table


def _host_of(name: str) -> str:
    """`https://ghcr.io/v1/` and `ghcr.io` are the same registry."""
    return name.partition("://")[2].partition("/")[0] or name.partition("/")[0]


def _entry(entry: Mapping[str, Any], name: str, place: str) -> Credentials | None:
    if token := _text(entry.get("identitytoken")):
        return Credentials(identity_token=token)
    packed = _text(entry.get("auth"))
    if not packed:
        user, password = _text(entry.get("username")), _text(entry.get("password"))
        return Credentials(user, password) if user else None
    try:
        user, _, password = base64.b64decode(packed, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise _broken(place, f"the entry of {name} is not base64") from None
    return Credentials(user, password.rstrip("\0"))


def _ask(helper: str, key: str) -> Credentials | None:
    """What the program `docker-credential-HELPER` keeps; None when it knows nothing of the registry."""
    argv = [f"docker-credential-{helper}", "get"]
    done = process.run(
        argv, purpose=f"ask {argv[0]} for a password", input=key.encode(), check=False, timeout=_PATIENCE
    )
    said = done.stdout.decode(errors="replace")
    if done.returncode:
        if _NOT_FOUND in said + done.stderr.decode(errors="replace"):
            return None
        raise RegistryError(
            f"{argv[0]} could not give the password for {key}",
            details=said or done.stderr.decode(errors="replace"),
            remedy=f"to see it again: echo {key} | {argv[0]} get",
        )
    try:
        answer = documents.parse(done.stdout)
        user, secret = documents.text(answer, "Username"), documents.text(answer, "Secret")
        understood = {"Username", "Secret"} <= answer.keys()
    except ValueError:
        understood = False
    if not understood:
        raise RegistryError(
            f"{argv[0]} answered with something else than a name and a password",
            remedy=f"to see it: echo {key} | {argv[0]} get",
        )
    return Credentials(identity_token=secret) if user == _TOKEN_USER else Credentials(user, secret)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _broken(place: str, why: str) -> DevboxError:
    return RegistryError(f"{place} can't be understood: {why}", remedy="mend it, or docker login writes it anew")
