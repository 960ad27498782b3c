"""The resolved file, kept by the hash of all it was read from, so that a warm `up` parses and validates nothing.

It lies in the project's directory of the store; one that may hold secrets, in the runtime directory of what is up.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from typing import Any

from devbox.host import beneath, environ, files
from devbox.host.paths import on_tmpfs
from devbox.model import codec, jsontext
from devbox.model.resolved import Resolved

FORMAT = 1


def read(directory: str, reader: str) -> Resolved | None:
    """The cached model, or None when it is absent, made by other code, or any of its inputs changed."""
    text = files.read_text(_path(directory))
    if text is None:
        return None
    try:
        plain = jsontext.loads(text)
        if (
            plain["format"] != FORMAT
            or plain["reader"] != reader
            or plain["inputs"] != as_now(plain["files"], plain["variables"], root=plain["root"])
        ):
            return None
        return codec.load(Resolved, plain["resolved"])
    except (ValueError, KeyError, TypeError):
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


def write(directory: str, resolved: Resolved, reader: str, *, inputs: Iterable[str], variables: Iterable[str]) -> None:
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
    files.write_atomic(_path(directory), json.dumps(plain), mode=0o600)


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


def _path(directory: str) -> str:
    return f"{directory}/resolved.json"
