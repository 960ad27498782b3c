"""Ownership of an instance's releases: the project's root, its env file, and the identity of its directory.

A project's instance is found by files below DEVBOX_HOME. A forged file could lead another project or env file to an
instance whose stages have gates that this file does not have, or this one away from its history, to an instance without
its revocations. Release decisions are therefore checked against this record in the configuration directory.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator

from devbox.errors import DevboxError, EngineError, HostError
from devbox.host import disk, files, ports
from devbox.host.paths import Paths
from devbox.host.project import identify
from devbox.isolation import state
from devbox.isolation.liveness import is_alive
from devbox.model import codec, ids, jsontext
from devbox.model.frozen import dataclass
from devbox.model.ids import INSTANCE_ID_LENGTH, compute_instance_id, compute_key
from devbox.model.observed import PortHolder
from devbox.records.host_files import HostFiles
from devbox.records.instance import InstanceRecords

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class RecordedLocation:
    """A project's place. `directory`: see `host.disk`; "" if its file system records no birth times."""

    root: str
    env_file: str
    directory: str = ""


class PlaceRecord:
    """The place of one instance."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._paths = paths
        self._instance = instance
        self._path = self._get_path(instance)
        self._files = HostFiles(paths)

    def check(self, root: str, env_file: str, *, begins: bool = False) -> None:
        """Raise HostError if the releases belong to another project, or the project has releases elsewhere.

        A moved project keeps its releases.
        The first observed place is recorded. Before this host keeps records about the home, only commands with `begins`
        record it.
        """
        if not (begins or self._files.is_known):
            return
        now, known = (
            RecordedLocation(root=root, env_file=env_file, directory=disk.read_directory_identity(root)),
            self._read(self._path),
        )
        led = self._paths.moved_project(ids.compute_instance_id(root, env_file))
        if known is None and (own := self._find_instance(now)):
            is_first = own == ids.compute_instance_id(root, env_file)
            back = f"rm -f {led}" if is_first else f"mkdir -p {os.path.dirname(led)}; printf {own} > {led}"
            raise HostError(
                f"instance conflict for {root}/{env_file}: {self._paths.home} has {self._instance}, "
                f"its releases belong to {own}",
                remedy=f"{back}; to start without their history: rm {self._get_path(own)}",
            )
        if known is not None and not _is_same(known, now):
            raise HostError(
                f"the releases for {root}/{env_file} belong to the project {known.root}/{known.env_file}",
                remedy=f"if it is another project: rm -f {led}; if it was moved: rm {self._path}",
            )
        if now != known:
            self._files.write(self._path, json.dumps({"format": FORMAT, "place": codec.dump(now)}))

    def is_present(self) -> bool:
        """True if the project that owns the releases has its env file at the recorded place."""
        known = self._read(self._path)
        return known is not None and os.path.lexists(f"{known.root}/{known.env_file}")

    def _find_instance(self, now: RecordedLocation) -> str:
        """Return the instance recorded for this project; "" for none."""
        for name in self._files.list_names(f"{self._paths.host_files}/projects"):
            known = self._read(self._get_path(name))
            if known is not None and _has_become(known, now):
                return name
        return ""

    def _get_path(self, instance: str) -> str:
        return f"{self._paths.host_project(instance)}/release-place.json"

    def _read(self, path: str) -> RecordedLocation | None:
        text = self._files.read(path)
        if text is None:
            return None
        try:
            plain = jsontext.loads(text)
            if plain["format"] == FORMAT:
                return codec.load(RecordedLocation, plain["place"])
        except (ValueError, KeyError, TypeError):
            pass
        raise HostError(f"{path} is damaged or from another devbox version", remedy=f"remove it: rm {path}")


def _has_become(known: RecordedLocation, now: RecordedLocation) -> bool:
    """True if a project was moved between the places; false for a replaced directory or a second path."""
    if known.env_file != now.env_file:
        return False
    if known.root == now.root:
        return known.directory == now.directory or "" in (known.directory, now.directory)
    return known.directory == now.directory != "" and disk.read_directory_identity(known.root) != known.directory


def _is_same(known: RecordedLocation, now: RecordedLocation) -> bool:
    """True for the same place, or the same directory elsewhere."""
    return known.env_file == now.env_file and (known.root == now.root or known.directory == now.directory != "")


def find_id(paths: Paths, root: str, env_file: str) -> str:
    """Return the instance id of the project at a place; detect and record a move by the directory's identity."""
    found = identify(paths, root, env_file)
    if not os.path.isdir(paths.projects):
        return found
    own = disk.read_directory_identity(root)
    if not own or _is_at_home(paths, found, own) or not _find_lost(paths, env_file):
        return found
    with files.lock_file(paths.lock("moves")):
        if moves := _find_moves(paths, env_file, root, _find_lost(paths, env_file)):
            _record_moves(paths, env_file, moves)
        found = identify(paths, root, env_file)
        records = InstanceRecords(paths, found)
        with contextlib.suppress(DevboxError, OSError):
            if records.read_directory() not in ("", own):  # recreated at its place: the old directory is gone
                records.record_move(root)
    return found


def _is_at_home(paths: Paths, key: str, own: str) -> bool:
    """True if the instance's recorded directory has this identity, or none is recorded."""
    try:
        return os.path.isdir(paths.project(key)) and InstanceRecords(paths, key).read_directory() in ("", own)
    except (DevboxError, OSError):
        return True  # a damaged record is reported by later readers


def _list_places(paths: Paths, env_file: str) -> Iterator[tuple[str, str, str]]:
    """Yield id, root and directory of each project with this env file, without stages and test cells."""
    for key in sorted(os.listdir(paths.projects)):
        records = InstanceRecords(paths, key)
        with contextlib.suppress(DevboxError, OSError):
            root, file = records.read_place()
            if file == env_file and not records.read_stage() and identify(paths, root, file) == key:
                yield key, root, records.read_directory()


def _find_lost(paths: Paths, env_file: str) -> dict[str, tuple[str, str]]:
    """Return the projects whose place has another directory or none: id → root and directory."""
    found = {key: (root, known) for key, root, known in _list_places(paths, env_file) if known}
    return {key: (root, known) for key, (root, known) in found.items() if disk.read_directory_identity(root) != known}


def _find_moves(paths: Paths, env_file: str, root: str, lost: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Return the moves of these projects: id → former and current root.

    Searched at this root, next to it, and at the places of other projects, which may have been swapped.
    """
    inodes = {known.partition(":")[0] for _, known in lost.values()}
    moved: list[str] = []
    with contextlib.suppress(OSError), os.scandir(os.path.dirname(root)) as entries:
        moved = [entry.path for entry in entries if str(entry.inode()) in inodes]
    candidates = [root, *(place for _, place, _ in _list_places(paths, env_file)), *moved]
    present = {disk.read_directory_identity(place): place for place in reversed(candidates)}
    return {key: (before, present[known]) for key, (before, known) in lost.items() if known in present}


def _record_moves(paths: Paths, env_file: str, moves: dict[str, tuple[str, str]]) -> None:
    """Redirect the new places to the projects, and abandoned places to unused ids."""
    roots = dict(moves.values())
    for key in os.listdir(paths.projects):
        records = InstanceRecords(paths, key)
        with contextlib.suppress(DevboxError, OSError):
            root, file = records.read_place()
            if file == env_file and root in roots:  # including its stages and test cells
                records.record_move(roots[root])
    for key, (before, root) in moves.items():
        if before not in roots.values():
            left = compute_instance_id(before, env_file)
            fresh = compute_key(["moved away", left, key, root, disk.read_directory_identity(root)]).removeprefix(
                "sha256:"
            )
            _redirect_id(paths, left, fresh[:INSTANCE_ID_LENGTH])
        _redirect_id(paths, compute_instance_id(root, env_file), key)


def _redirect_id(paths: Paths, key: str, to: str) -> None:
    path = paths.moved_project(key)
    if key == to:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return
    os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
    files.write_atomic(path, to, mode=0o600)


_SEE = "find it with: sudo ss -Hltunp 'sport = :{port}'"


def find_port_holder(paths: Paths, address: str, port: int, protocol: str) -> PortHolder:
    """Return the holder of a host port, or the reason for a refusal."""
    found = ports.find_holder(port, protocol)
    if found is None:
        return _describe_refusal(address, port, protocol)
    instance = found.instance if found.pid else _find_publisher(paths, port, protocol)
    records = InstanceRecords(paths, instance)
    root, stage = (records.read_place()[0], records.read_stage()) if instance else ("", "")
    if root and stage:
        return PortHolder(
            why=f"is used by the stage {stage} of {root}", remedy=f"devbox -C {root} down --stage {stage}"
        )
    if root:
        return PortHolder(why=f"is used by the devbox project {root}", remedy=f"devbox -C {root} down")
    if found.pid is None:
        return PortHolder(why=f"is used by a program of uid {found.uid}", remedy=_SEE.format(port=port))
    return PortHolder(why=f"is used by {found.name} (pid {found.pid})", remedy=f"stop it: kill {found.pid}")


def _find_publisher(paths: Paths, port: int, protocol: str) -> str:
    """Return this home's instance that publishes a port: the kernel hides the files of an ordinary user's pasta."""
    for instance in os.listdir(paths.runtime) if os.path.isdir(paths.runtime) else ():
        with contextlib.suppress(EngineError):  # unreadable state
            now = state.read_state_file(paths, instance)
            published = [each.publish for each in now.published] if now and now.egress and is_alive(now.egress) else []
            if any((each.host, each.protocol) == (port, protocol) for each in published):
                return instance
    return ""


def _describe_refusal(address: str, port: int, protocol: str) -> PortHolder:
    """Explain a refusal of the kernel although no program holds the port."""
    error = ports.find_refusal(address, port, protocol)
    if isinstance(error, PermissionError):
        return PortHolder(why="only root may open", remedy="publish a port above 1023")
    if error is not None and error.errno == errno.EADDRNOTAVAIL:
        return PortHolder(why="is not an address of the host", remedy="list the addresses: ip -brief address")
    return PortHolder(why="is used by another program", remedy=_SEE.format(port=port))
