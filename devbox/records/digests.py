"""Digests of large files of a project, kept with what tells that a file is still the same: nobody reads it again then.

As Git's index does, a file is believed to be unchanged by its inode, size and times; not one that was written so
recently that it could be written again within one tick of the clock.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable

from devbox.host import beneath, files
from devbox.model import jsontext
from devbox.records.stamps import TICK


def look(root: str, paths: Iterable[str], *, record: str) -> dict[str, str]:
    """The digests of those files of the project at `root` that are there. `record` is the file they are kept in."""
    with beneath.Project(root) as project:
        return _look(project, paths, record)


def _look(project: beneath.Project, paths: Iterable[str], record: str) -> dict[str, str]:
    known, found, sure = _read(record), dict[str, str](), dict[str, list[object]]()
    for path in paths:
        try:
            with open(project.open(path), "rb") as source:
                facts = _facts(os.fstat(source.fileno()))
                entry = known.get(path)
                if entry is None or entry[:-1] != facts:
                    entry = [*facts, f"sha256:{beneath.digest(source)}"]
        except OSError:
            continue
        found[path] = str(entry[-1])
        if time.time_ns() - max(facts[-2:]) > TICK:
            sure[path] = entry
    if sure != known:
        os.makedirs(os.path.dirname(record), mode=0o711, exist_ok=True)
        files.write_atomic(record, json.dumps(sure), mode=0o600)
    return found


def _facts(facts: os.stat_result) -> list[int]:
    return [facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]


def _read(record: str) -> dict[str, list[object]]:
    try:
        found: dict[str, list[object]] = jsontext.loads(files.read_text(record) or "{}")
    except ValueError:
        return {}
    return found
