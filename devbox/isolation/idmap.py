"""Maps from container ids to host ids, and user namespaces with such a map.

Root: one range of 65536 host ids, chosen once per store and recorded, plus one range for higher container ids that all
stores of root share. An ordinary user: container root is the user; other ids are the user's subordinate ids.
"""

from __future__ import annotations

import functools
import os
import zlib
from typing import TYPE_CHECKING

from devbox.errors import EngineError, HostError
from devbox.host import files, programs
from devbox.isolation import forks, syscalls
from devbox.isolation.types import IdMap, Range

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from devbox.host.paths import Paths

SIZE = 65536
_FORMAT = 1
_FIRST_BASE = 0x4000_0000
_FIRST_SUBORDINATE = 100_000  # default start of useradd(8)
_SLOTS = 0x2000
# Container ids from SIZE to Docker's maximum, at host ids that neither useradd nor systemd assigns.
_MOST = 0x8000_0000
_ABOVE = Range(SIZE, 0x8000_0000, 0x8000_0000 - SIZE)


def load_store_map(paths: Paths) -> IdMap:
    """Return this user's map of the store. Raises HostError if an ordinary user has too few subordinate ids."""
    if os.geteuid() == 0:
        base = _load_base(paths)
        ranges = (Range(0, base, SIZE), *((_ABOVE,) if _is_free(_ABOVE.outside, _ABOVE.count) else ()))
        return IdMap(rootless=False, uids=ranges, gids=ranges)
    return IdMap(
        rootless=True,
        uids=_read_subordinate_ranges("/etc/subuid", os.geteuid()),
        gids=_read_subordinate_ranges("/etc/subgid", os.getegid()),
    )


def map_to_host(ranges: tuple[Range, ...], inside: int) -> int:
    """Return the host id of a container id; raise ValueError if unmapped."""
    for span in ranges:
        if span.inside <= inside < span.inside + span.count:
            return span.outside + inside - span.inside
    raise ValueError(f"id {inside} is not mapped")


def find_highest_id(idmap: IdMap) -> int:
    """Return the highest id available to both users and groups; maps start at 0 and have no gaps."""
    return min(ranges[-1].inside + ranges[-1].count for ranges in (idmap.uids, idmap.gids)) - 1


def check_ids(idmap: IdMap, uid: int, gid: int) -> None:
    """Raise EngineError if a process cannot have these ids in a container of this store."""
    last = find_highest_id(idmap)
    if max(uid, gid) > last:
        raise EngineError(f"a process cannot run as {uid}:{gid}: {describe_limit(idmap)}", remedy=suggest_remedy(idmap))


def describe_limit(idmap: IdMap) -> str:
    """Return the reason for the highest id, as a clause."""
    own = "your subordinate ids allow" if idmap.rootless else "the host allows"
    return f"{own} ids up to {find_highest_id(idmap)} in containers"


def suggest_remedy(idmap: IdMap) -> str:
    """Return the remedy for ids above the limit."""
    if idmap.rootless:
        return "add a range to your lines in /etc/subuid and /etc/subgid, or run devbox as root"
    return f"use another id, or free the host ids from {_ABOVE.outside} in /etc/subuid and /etc/subgid"


def extends(new: Sequence[Range], old: Sequence[Range]) -> bool:
    """True if every id of an older map has the same host id in the new one. Pure."""
    return all(
        any(
            span.inside <= before.inside
            and before.inside + before.count <= span.inside + span.count
            and before.outside - before.inside == span.outside - span.inside
            for span in new
        )
        for before in old
    )


def build_owner_map(idmap: IdMap, *, owner: int, group: int) -> IdMap:
    """Build the map of an id-mapped mount: `owner` and `group` on disk become container root, other ids stay distinct.

    A range's `inside` is the id on disk and `outside` the kernel's id, as mount_setattr(2) reads the map.
    """
    return IdMap(rootless=idmap.rootless, uids=_swap_owner(idmap.uids, owner), gids=_swap_owner(idmap.gids, group))


def write_maps(pid: int, idmap: IdMap) -> None:
    """Write the id maps of process `pid`'s new user namespace: directly as root, else with newuidmap and newgidmap."""
    for kind, ranges in (("uid", idmap.uids), ("gid", idmap.gids)):
        if os.geteuid() != 0:
            numbers = [str(number) for span in ranges for number in span]
            program = programs.find(f"new{kind}map")
            programs.call([program, str(pid), *numbers], purpose=f"map the {kind}s of a user namespace")
        else:
            text = "".join(f"{span.inside} {span.outside} {span.count}\n" for span in ranges)
            with open(f"/proc/{pid}/{kind}_map", "w", encoding="ascii") as target:
                target.write(text)


@functools.cache
def open_userns(idmap: IdMap) -> int:
    """Return a descriptor of a new user namespace with this map, for id-mapped mounts (root only).

    The descriptor stays open for the life of this process, which reuses the same few maps.
    """
    ready, release = os.pipe(), os.pipe()

    def sit() -> None:
        os.close(release[1])
        create_user_namespace()
        os.write(ready[1], b"1")
        os.read(release[0], 1)

    child = forks.fork(sit)
    os.close(ready[1])
    os.close(release[0])
    try:
        if os.read(ready[0], 1):
            write_maps(child.pid, idmap)
            return os.open(f"/proc/{child.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready[0])
        os.close(release[1])
        forks.wait(child)
    raise EngineError(
        "cannot create a user namespace: the helper process exited early",
        remedy="run devbox up again; if that fails, find the cause with: devbox doctor",
    )


def create_user_namespace(also: int = 0) -> None:
    """Move this process into a new user namespace (and others, by flags); raise HostError if the kernel refuses."""
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER | also)
    except OSError as error:
        raise HostError(
            "cannot create a user namespace: refused by the kernel",
            details=error.strerror or "",
            remedy="sudo sysctl user.max_user_namespaces=15000 kernel.apparmor_restrict_unprivileged_userns=0",
        ) from None


def become_root() -> None:
    """Take uid 0 and gid 0 of this process's user namespace."""
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _swap_owner(mapped: tuple[Range, ...], owner: int) -> tuple[Range, ...]:
    base = mapped[0].outside
    below, above = min(owner, SIZE - 1), SIZE - owner - 1
    ranges = [Range(owner, base, 1)]
    if below:
        ranges.append(Range(0, base + 1, below))
    if above > 0:
        ranges.append(Range(owner + 1, base + owner + 1, above))
    return (*ranges, *(piece for span in mapped[1:] for piece in _exclude_id(span, owner)))


def _exclude_id(span: Range, number: int) -> Iterator[Range]:
    end = span.inside + span.count
    cuts = (number, number + 1) if span.inside <= number < end else (end, end)
    for first, last in ((span.inside, cuts[0]), (cuts[1], end)):
        if first < last:
            yield Range(first, span.outside + first - span.inside, last - first)


def _load_base(paths: Paths) -> int:
    """Return the first id of the store's range: recorded, or chosen and recorded now."""
    import shlex

    from devbox.model import jsontext

    with files.lock_file(paths.lock("idmap")):
        text = files.read_text(paths.idmap)
        if text is None:
            base = _find_free_base(paths.home)
            files.write_atomic(paths.idmap, _format_record(base))
            return base
        try:
            return _check_base(int(jsontext.loads(text)["base"]))
        except (ValueError, KeyError, TypeError, OverflowError):
            again = shlex.quote(_format_record(_find_free_base(paths.home)).strip())
            remedy = f"restore its most likely content: echo {again} > {paths.idmap}"
            raise EngineError(f"{paths.idmap} is damaged", remedy=remedy) from None


def _check_base(base: int) -> int:
    """Return a valid base, else raise ValueError: with a base such as 0, container root would be a host user."""
    if not _FIRST_BASE <= base <= _ABOVE.outside - SIZE:
        raise ValueError
    return base


def _format_record(base: int) -> str:
    import json

    return json.dumps({"format": _FORMAT, "base": base, "count": SIZE}) + "\n"


def _find_free_base(home: str) -> int:
    """Return the base of a range that no user has; the search starts at a point that depends on the store's path."""
    first = zlib.crc32(os.fsencode(home)) % _SLOTS
    for step in range(_SLOTS):
        base = _FIRST_BASE + (first + step) % _SLOTS * SIZE
        if _is_free(base, SIZE):
            return base
    raise HostError(
        f"no free range of {SIZE} ids in /etc/subuid and /etc/subgid", remedy="free one: sudoedit /etc/subuid"
    )


def _is_free(first: int, size: int) -> bool:
    """True if no user has subordinate ids in this range."""
    taken = (entry for path in ("/etc/subuid", "/etc/subgid") for entry in _read_entries(path))
    return all(first + size <= start or start + count <= first for _, start, count in taken)


def _read_subordinate_ranges(path: str, own: int) -> tuple[Range, ...]:
    """Return the caller's map: container id 0 is the caller, higher ids are the caller's ranges in `path`, in order."""
    from devbox.host import environ

    names = {str(os.geteuid()), environ.get_user_name()}
    ranges = [Range(0, own, 1)]
    for name, start, count in _read_entries(path):
        inside = ranges[-1].inside + ranges[-1].count
        if name in names and inside < _MOST:
            ranges.append(Range(inside, start, min(count, _MOST - inside)))
    if ranges[-1].inside + ranges[-1].count < SIZE:
        first = _find_free_subordinate()
        span = f"{first}-{first + SIZE - 1}"
        raise HostError(
            f"too few subordinate ids for {environ.get_user_name()} in {path}: containers require {SIZE - 1}",
            remedy=f"sudo usermod --add-subuids {span} --add-subgids {span} {environ.get_user_name()}",
        )
    return tuple(ranges)


def _find_free_subordinate() -> int:
    """Return the start of a range of SIZE ids that no user, group or subordinate range uses."""
    import grp
    import pwd

    taken = [(start, count) for _, start, count in (*_read_entries("/etc/subuid"), *_read_entries("/etc/subgid"))]
    taken += [(each.pw_uid, 1) for each in pwd.getpwall()] + [(each.gr_gid, 1) for each in grp.getgrall()]
    return find_first_free(taken)


def find_first_free(taken: Iterable[tuple[int, int]]) -> int:
    """Return the first id from 100,000 on whose range of SIZE overlaps no range in `taken` (first id, count). Pure."""
    first = _FIRST_SUBORDINATE
    for start, count in sorted(taken):
        if start < first + SIZE:
            first = max(first, start + count)
    return first


def _read_entries(path: str) -> list[tuple[str, int, int]]:
    """Return the `name:first:count` entries of /etc/subuid or /etc/subgid."""
    entries = []
    for line in (files.read_text(path) or "").splitlines():
        name, _, numbers = line.partition(":")
        first, _, count = numbers.partition(":")
        if first.isdigit() and count.strip().isdigit():
            entries.append((name, int(first), int(count)))
    return entries
