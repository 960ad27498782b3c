"""The resolved file, kept by the hash of all it was read from, so that a warm `up` parses and validates nothing.

It lies in the project's directory of the store; one that may hold secrets, in the runtime directory of what is up. From
when this host has a key, one that it has not authenticated counts as none: a container could get anything by it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterable
from typing import Any

from devbox.errors import HostError
from devbox.host import beneath, environ, files
from devbox.host.paths import Paths, on_tmpfs
from devbox.model import codec, jsontext
from devbox.model.resolved import Resolved
from devbox.records.hostkey import HostKey

FORMAT = 1
_PURPOSE = "resolved file"
_MAC = re.compile(r'\{"mac": "([^"\\]*)", ')


def read(paths: Paths, directory: str, reader: str) -> Resolved | None:
    """The cached model, or None when it is absent, made by other code or another host, or any of its inputs changed."""
    text = files.read_text(_path(directory))
    if text is None:
        return None
    try:
        plain = jsontext.loads(text)
        if (
            plain["format"] != FORMAT
            or plain["reader"] != reader
            or plain["inputs"] != as_now(plain["files"], plain["variables"], root=plain["root"])
            or not _is_authentic(paths, directory, text)
        ):
            return None
        return codec.load(Resolved, plain["resolved"])
    except (ValueError, KeyError, TypeError, HostError):
        return None


def sources(directory: str) -> tuple[list[str], list[str]] | None:
    """The files and environment variables that the cached model was made from; None where there is none."""
    text = files.read_text(_path(directory))
    try:
        plain = jsontext.loads(text or "")
        return plain["files"], plain["variables"]
    except (ValueError, KeyError, TypeError):
        return None


def may_hold_secrets(directory: str) -> bool:
    """Whether what is written there reaches no disk: the runtime directory of an instance that is up, on a tmpfs."""
    return os.path.isdir(directory) and on_tmpfs(directory)


def write(
    paths: Paths, directory: str, resolved: Resolved, reader: str, *, inputs: Iterable[str], variables: Iterable[str]
) -> None:
    """Keep a model with the files and environment variables it was made from. 0600: it holds credentials."""
    names = sorted(set(variables))
    plain: dict[str, Any] = {
        "format": FORMAT,
        "reader": reader,
        "root": resolved.instance.root,
        "files": sorted(set(inputs)),
        "variables": names,
        "resolved": codec.dump(resolved),
    }
    plain["inputs"] = as_now(plain["files"], names, root=plain["root"])
    os.makedirs(directory, mode=0o711, exist_ok=True)
    files.write_atomic(_path(directory), _authenticated(paths, directory, json.dumps(plain)), mode=0o600)


def as_now(paths: Iterable[str], variables: Iterable[str], *, root: str) -> str:
    """The hash of files, those of the project at `root` among them, and environment variables as they are now."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path}\0{_digest(path, root)}\0".encode(errors="surrogateescape"))
    for name in variables:
        total.update(f"{name}\0{environ.get(name)}\0".encode(errors="surrogateescape"))
    return total.hexdigest()


def _digest(path: str, root: str) -> str:
    within = f"{root.rstrip('/')}/"
    at, inner = (root, path[len(within) :]) if path.startswith(within) else ("/", path)
    try:
        return hashlib.sha256(beneath.read(at, inner)).hexdigest()
    except beneath.Unusable:
        return "unusable"
    except OSError:
        return "absent"


def _authenticated(paths: Paths, directory: str, text: str) -> str:
    """The document with a MAC as its first value; without one if this host has no key, or none that can be used."""
    key = HostKey(paths)
    if not key.exists:
        return text
    with contextlib.suppress(HostError):
        return f'{{"mac": "{key.mac(_PURPOSE, _content(directory, text))}", {text[1:]}'
    return text


def _is_authentic(paths: Paths, directory: str, text: str) -> bool:
    """True if the key of this host says so, or there is none. HostError if it cannot be used."""
    key = HostKey(paths)
    if not key.exists:
        return True
    found = _MAC.match(text)
    return found is not None and key.verifies(found[1], _PURPOSE, _content(directory, f"{{{text[found.end() :]}"))


def _content(directory: str, text: str) -> dict[str, str]:
    return {"directory": directory, "sha256": hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()}


def _path(directory: str) -> str:
    return f"{directory}/resolved.json"
