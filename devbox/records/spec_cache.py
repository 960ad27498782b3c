"""Cache of the resolved env file, keyed by the hash of its inputs: a warm `up` parses and validates nothing.

It is in the project's directory of the store; with secrets, in the runtime directory of the running instance. Once this
host has a key, unauthenticated caches are ignored: a container could otherwise grant itself anything.
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
from devbox.model.spec import LockedSpec
from devbox.records.host_key import HostKey
from devbox.records.noop import TICK

FORMAT = 1
_PURPOSE = "resolved file"
_MAC = re.compile(r'\{"mac": "([^"\\]*)", ')


def read(paths: Paths, directory: str, reader: str) -> LockedSpec | None:
    """Return the cached model; None if it is missing, of other code or another host, or an input has changed."""
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
        return codec.load(LockedSpec, plain["resolved"])
    except (ValueError, KeyError, TypeError, AttributeError, HostError):
        return None


def read_sources(directory: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return the files and environment variables of the cached model; None if there is none."""
    text = files.read_text(_get_path(directory))
    try:
        plain = jsontext.loads(text or "")
        return codec.load(tuple[str, ...], plain["files"]), codec.load(tuple[str, ...], plain["variables"])
    except (ValueError, KeyError, TypeError):
        return None


def can_hold_secrets(directory: str) -> bool:
    """Return whether files there never reach a disk: the runtime directory of a running instance, on tmpfs."""
    return os.path.isdir(directory) and is_on_tmpfs(directory)


def write(
    paths: Paths, directory: str, resolved: LockedSpec, reader: str, *, inputs: Iterable[str], variables: Iterable[str]
) -> None:
    """Write a model with its input files and environment variables. Mode 0600: it contains credentials."""
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
    """Return a hash of the current content of files, including the project's at `root`, and variables."""
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
    """Prepend a MAC to the document; leave it unchanged if this host has no usable key."""
    key = HostKey(paths)
    if not key.exists:
        return text
    with contextlib.suppress(HostError):
        return f'{{"mac": "{key.compute_mac(_PURPOSE, _bind_content(directory, text))}", {text[1:]}'
    return text


def _is_authentic(paths: Paths, directory: str, text: str) -> bool:
    """True if the MAC of this host's key is valid, or the key is missing. HostError if the key is unusable."""
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
    """Return the digests of existing files of the project at `root`. `record` is their cache file."""
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
        found = jsontext.loads(files.read_text(record) or "{}")
        return {path: entry for path, entry in found.items() if isinstance(entry, list)}
    except (ValueError, AttributeError):
        return {}
