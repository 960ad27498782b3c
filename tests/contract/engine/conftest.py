"""The backends that the engine contract is checked on. Another engine is one more entry of BACKENDS."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract.engine.backend import Backend, processes_with
from support import rootfs
from support.machine import lacking

from devbox.engines.native.engine import NativeEngine
from devbox.errors import HostError
from devbox.host import programs
from devbox.host.paths import Paths
from devbox.isolation import cgroups, idmap
from devbox.isolation.types import IdMap
from devbox.model.spec import Instance

OWNER = 1234  # of the project directory, where root runs the tests
_numbers = itertools.count()


@pytest.fixture(scope="session")
def base() -> Iterator[Path]:
    """A directory that the mapped root can reach, on disk."""
    made = Path(tempfile.mkdtemp(prefix="devbox-engine-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def paths(base: Path) -> Iterator[Paths]:
    """A home of our own."""
    runtime = tempfile.mkdtemp(prefix="devbox-e-", dir="/dev/shm")
    os.chmod(runtime, 0o711)
    (base / "home").mkdir()
    yield Paths(str(base / "home"), f"{runtime}/r")
    shutil.rmtree(runtime)


@pytest.fixture(scope="session")
def ids(paths: Paths) -> IdMap:
    """The id map of the store."""
    try:
        for program in ("crun", "catatonit", "pasta", "nft"):
            programs.find(program)
        return idmap.load_store_map(paths)
    except HostError as error:
        lacking(error.sentence)
        raise


@pytest.fixture(scope="session")
def lower(base: Path, ids: IdMap) -> Iterator[Path]:
    """A minimal Debian as an overlay lower."""
    made = rootfs.unpack(ids, base / "snapshots" / rootfs.SUITE)
    yield made
    rootfs.remove(ids, base / "snapshots")


def _native(paths: Paths, lower: Path, instance: Instance) -> Backend:
    run_dir = paths.instance_runtime(instance.id)

    def traces() -> set[str]:
        found = processes_with((run_dir.encode(),))
        found |= {f"in a cgroup: {pid}" for pid in cgroups.list_members(run_dir)}
        found |= {f"file {run_dir}"} if os.path.exists(run_dir) else set()
        with open("/proc/mounts", encoding="utf-8") as mounts:
            found |= {f"mount {line.split()[1]}" for line in mounts if paths.home in line or run_dir in line}
        return found

    return Backend(NativeEngine(paths, lambda _: (str(lower),)), instance, traces)


BACKENDS: dict[str, Callable[[Paths, Path, Instance], Backend]] = {"native": _native}


@pytest.fixture(params=BACKENDS)
def fresh(request: pytest.FixtureRequest, base: Path, paths: Paths, lower: Path) -> Iterator[Callable[[], Backend]]:
    """Makes instances, which are taken down afterwards."""
    made: list[Backend] = []

    def make() -> Backend:
        name = f"contract{next(_numbers):04}"
        root = base / name
        root.mkdir()
        owner = OWNER if os.geteuid() == 0 else os.geteuid()
        os.chown(root, owner, owner)
        instance = Instance(id=name, name=name, root=str(root), env_file="devbox.toml", owner=owner, group=owner)
        made.append(BACKENDS[request.param](paths, lower, instance))
        return made[-1]

    yield make
    for each in made:
        each.engine.tear_down(each.instance, volumes=True)
        assert each.traces() == set()


@pytest.fixture
def backend(fresh: Callable[[], Backend]) -> Backend:
    """A fresh instance."""
    return fresh()


@pytest.fixture
def other(fresh: Callable[[], Backend]) -> Backend:
    """Another fresh instance."""
    return fresh()


@pytest.fixture
def native(backend: Backend) -> Backend:
    """A fresh instance of the native engine, for what others do in their own way."""
    if not isinstance(backend.engine, NativeEngine):
        pytest.skip("only the native engine has this")
    return backend
