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
import time
from collections.abc import Iterable
from typing import Any

from devbox.errors import HostError
from devbox.host import environ, files, safe_files
from devbox.host.paths import Paths, is_on_tmpfs
from devbox.model import codec, jsontext
from devbox.model.spec import Spec
from devbox.records.host_key import HostKey
from devbox.records.noop import TICK

FORMAT = 1
_PURPOSE = "resolved file"
_MAC = re.compile(r'\{"mac": "([^"\\]*)", ')


def read(paths: Paths, directory: str, reader: str) -> Spec | None:
    """The cached model, or None when it is absent, made by other code or another host, or any of its inputs changed."""
    text = files.read_text(_get_path(directory))
    if text is None:
        return None
    try:
        plain = jsontext.loads(text)
        if (
            plain["format"] != FORMAT
            or plain["reader"] != reader
            or plain["inputs"] != hash_inputs(plain["files"], plain["variables"], root=plain["root"])
            or not _is_authentic(paths, directory, text)
        ):
            return None
        return codec.load(Spec, plain["resolved"])
    except (ValueError, KeyError, TypeError, HostError):
        return None


def read_sources(directory: str) -> tuple[list[str], list[str]] | None:
    """The files and environment variables that the cached model was made from; None where there is none."""
    text = files.read_text(_get_path(directory))
    try:
        plain = jsontext.loads(text or "")
        return plain["files"], plain["variables"]
    except (ValueError, KeyError, TypeError):
        return None


def can_hold_secrets(directory: str) -> bool:
    """Whether what is written there reaches no disk: the runtime directory of an instance that is up, on a tmpfs."""
    return os.path.isdir(directory) and is_on_tmpfs(directory)


def write(
    paths: Paths, directory: str, resolved: Spec, reader: str, *, inputs: Iterable[str], variables: Iterable[str]
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
    plain["inputs"] = hash_inputs(plain["files"], names, root=plain["root"])
    os.makedirs(directory, mode=0o711, exist_ok=True)
    files.write_atomic(_get_path(directory), _authenticate(paths, directory, json.dumps(plain)), mode=0o600)


def hash_inputs(paths: Iterable[str], variables: Iterable[str], *, root: str) -> str:
    """The hash of files, those of the project at `root` among them, and environment variables as they are now."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path}\0{_hash_file(path, root)}\0".encode(errors="surrogateescape"))
    for name in variables:
        total.update(f"{name}\0{environ.get(name)}\0".encode(errors="surrogateescape"))
    return total.hexdigest()


def _hash_file(path: str, root: str) -> str:
    within = f"{root.rstrip('/')}/"
    at, inner = (root, path[len(within) :]) if path.startswith(within) else ("/", path)
    try:
        return hashlib.sha256(safe_files.read(at, inner)).hexdigest()
    except safe_files.UnusablePath:
        return "unusable"
    except OSError:
        return "absent"


def _authenticate(paths: Paths, directory: str, text: str) -> str:
    """The document with a MAC as its first value; without one if this host has no key, or none that can be used."""
    key = HostKey(paths)
    if not key.exists:
        return text
    with contextlib.suppress(HostError):
        return f'{{"mac": "{key.compute_mac(_PURPOSE, _bind_content(directory, text))}", {text[1:]}'
    return text


def _is_authentic(paths: Paths, directory: str, text: str) -> bool:
    """True if the key of this host says so, or there is none. HostError if it cannot be used."""
    key = HostKey(paths)
    if not key.exists:
        return True
    found = _MAC.match(text)
    return found is not None and key.verifies(found[1], _PURPOSE, _bind_content(directory, f"{{{text[found.end() :]}"))


def _bind_content(directory: str, text: str) -> dict[str, str]:
    return {"directory": directory, "sha256": hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()}


def _get_path(directory: str) -> str:
    return f"{directory}/resolved.json"


def compute_digests(root: str, paths: Iterable[str], *, record: str) -> dict[str, str]:
    """The digests of those files of the project at `root` that are there. `record` is the file they are kept in."""
    with safe_files.ProjectDirectory(root) as project:
        return _compute_digests(project, paths, record)


def _compute_digests(project: safe_files.ProjectDirectory, paths: Iterable[str], record: str) -> dict[str, str]:
    known, found, sure = _read_digests(record), dict[str, str](), dict[str, list[object]]()
    for path in paths:
        try:
            with open(project.open(path), "rb") as source:
                facts = _list_stat_fields(os.fstat(source.fileno()))
                entry = known.get(path)
                if entry is None or entry[:-1] != facts:
                    entry = [*facts, f"sha256:{safe_files.compute_digest(source)}"]
        except OSError:
            continue
        found[path] = str(entry[-1])
        if time.time_ns() - max(facts[-2:]) > TICK:
            sure[path] = entry
    if sure != known:
        os.makedirs(os.path.dirname(record), mode=0o711, exist_ok=True)
        files.write_atomic(record, json.dumps(sure), mode=0o600)
    return found


def _list_stat_fields(facts: os.stat_result) -> list[int]:
    return [facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]


def _read_digests(record: str) -> dict[str, list[object]]:
    try:
        found: dict[str, list[object]] = jsontext.loads(files.read_text(record) or "{}")
    except ValueError:
        return {}
    return found
