"""Files onto the host, all or none: staged beside their places, written down, given their names.

Until the journal says `committed`, a killed devbox's work is taken back; from then on it is carried to its end. Both
can be done any number of times, and are the first thing that the next command does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace

from devbox.host import placing
from devbox.model.install import Installed, Journal, Manifest, Present
from devbox.plan import installing as planning
from devbox.plan.installing import Placement
from devbox.records.installed import InstalledRecords

RECOVERED = "an install that was broken off: its files are whole again"


def look(paths: Iterable[str]) -> dict[str, Present | None]:
    """What lies at these places now."""
    return {path: placing.look(path) for path in paths}


def apply(
    placement: Placement,
    sources: Mapping[str, str],
    *,
    before: Manifest | None,
    after: Manifest,
    records: InstalledRecords,
) -> None:
    """Change the host's files. `sources`: place → the file to put there. The records' lock is held."""
    wanted = {os.path.dirname(each.path) for each in after.files}
    made = _missing(wanted)
    known = (*(before.directories if before else ()), *made)
    kept = tuple(path for path in known if any(f"{each}/".startswith(f"{path}/") for each in wanted))
    journal = Journal(
        name=after.name,
        instance=after.instance,
        staged={_staged(each.path): each.path for each in placement.put},
        remove=placement.remove,
        directories=made,
        emptied=tuple(sorted(set(known) - set(kept), key=len, reverse=True)),
        after=replace(after, directories=kept) if after.files else None,
    )
    records.begin(journal)
    try:
        _stage(journal, {each.path: each for each in placement.put}, sources)
    except BaseException:
        _take_back(journal, records)
        raise
    journal = replace(journal, committed=True)
    records.begin(journal)
    _carry_on(journal, records)


def clear(records: InstalledRecords) -> None:
    """Uninstall everything that is still as it was put there. The records' lock is held."""
    recover(records)
    for manifest in records.all():
        placement = planning.place((), manifest, look(each.path for each in manifest.files), {}, force=False)
        taken = {conflict.path for conflict in placement.conflicts}
        placement = replace(placement, remove=tuple(each for each in placement.remove if each.path not in taken))
        apply(placement, {}, before=manifest, after=replace(manifest, files=()), records=records)


def recover(records: InstalledRecords) -> bool:
    """Take back or finish what a killed devbox had begun; whether there was something. The records' lock is held."""
    journal = records.journal()
    if journal is None:
        return False
    (_carry_on if journal.committed else _take_back)(journal, records)
    return True


def _stage(journal: Journal, files: Mapping[str, Installed], sources: Mapping[str, str]) -> None:
    for path in journal.directories:
        placing.make_directory(path, mode=0o777)  # less the caller's umask
    for staged, path in journal.staged.items():
        if files[path].kind == "link":
            placing.link(os.readlink(sources[path]), staged)
        else:
            placing.write(sources[path], staged, mode=files[path].mode)
    _sync(journal)


def _take_back(journal: Journal, records: InstalledRecords) -> None:
    for staged in journal.staged:
        placing.unlink(staged)
    for path in reversed(journal.directories):
        placing.remove_directory(path)
    records.end()


def _carry_on(journal: Journal, records: InstalledRecords) -> None:
    for staged, path in journal.staged.items():
        placing.rename(staged, path)
    for each in journal.remove:
        if placing.look(each.path) == Present(kind=each.kind, mode=each.mode, digest=each.digest):
            placing.unlink(each.path)
    _sync(journal)
    for path in journal.emptied:
        placing.remove_directory(path)
    if journal.after is None:
        records.forget(journal.instance, journal.name)
    else:
        records.keep(journal.after)
    records.end()


def _sync(journal: Journal) -> None:
    paths = (*journal.staged.values(), *(each.path for each in journal.remove))
    for directory in sorted({os.path.dirname(path) for path in (*paths, *journal.directories)}):
        placing.sync(directory)


def _missing(directories: Iterable[str]) -> tuple[str, ...]:
    """The directories that are to be made, outermost first."""
    found: set[str] = set()
    for directory in directories:
        path = directory
        while not os.path.lexists(path):
            found.add(path)
            path = os.path.dirname(path)
    return tuple(sorted(found, key=len))


def _staged(path: str) -> str:
    """Where a file lies ready, beside its place."""
    directory, name = os.path.split(path)
    return f"{directory}/.{name[:200]}.devbox-{os.getpid()}"
