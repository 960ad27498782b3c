"""The backends that the engine contract is checked on. Another engine is one more entry of BACKENDS.

A test whose file begins with `test_native_`, or that uses `native`, is collected for the native engine only; one with
`needs` for engines with these capabilities; all others for every backend.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from contract.engine.backend import Backend, processes_with
from support import rootfs
from support.fake_container import list_processes
from support.fake_engine import FakeEngine
from support.machine import lacking

from devbox.engines.engine import Engine
from devbox.engines.native.engine import NativeEngine
from devbox.errors import HostError
from devbox.host import programs
from devbox.host.paths import Paths
from devbox.isolation import cgroups, idmap
from devbox.isolation.types import IdMap
from devbox.model.spec import Instance

NATIVE = "test_native_"
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


@dataclass(frozen=True)
class BackendKind:
    """An engine, made of the paths and the lower directories of images; and how to list what an instance left."""

    engine: Callable[[Paths, Callable[[Any], tuple[str, ...]]], Engine]
    find_processes: Callable[[Paths, str], set[str]]  # of an instance
    root_only: bool = False

    def build(self, paths: Paths, lower: Path, instance: Instance) -> Backend:
        """Build an instance on this engine."""
        run_dir = paths.instance_runtime(instance.id)

        def traces() -> set[str]:
            found = processes_with((run_dir.encode(),)) | self.find_processes(paths, instance.id)
            found |= {f"file {run_dir}"} if os.path.exists(run_dir) else set()
            with open("/proc/mounts", encoding="utf-8") as mounts:
                found |= {f"mount {line.split()[1]}" for line in mounts if paths.home in line or run_dir in line}
            return found

        return Backend(self.engine(paths, lambda _: (str(lower),)), instance, traces)

    def has(self, capability: type) -> bool:
        """True if the engine has this capability of `engines.capabilities`."""
        return isinstance(self.engine(Paths("/nowhere", "/nowhere"), lambda _: ()), capability)


def _find_native(paths: Paths, instance: str) -> set[str]:
    return {f"in a cgroup: {pid}" for pid in cgroups.list_members(paths.instance_runtime(instance))}


def _find_fake(paths: Paths, instance: str) -> set[str]:
    return {f"in a container: {pid}" for pid in list_processes(paths.project(instance))}


BACKENDS = {
    "native": BackendKind(NativeEngine, _find_native),
    "fake": BackendKind(FakeEngine, _find_fake, root_only=True),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Collect each test for the backends with the capabilities that it needs."""
    if "fresh" not in metafunc.fixturenames:
        return
    needed = [each for marker in metafunc.definition.iter_markers("needs") for each in marker.args]
    only_native = "native" in metafunc.fixturenames or metafunc.module.__name__.rpartition(".")[2].startswith(NATIVE)
    names = [
        name
        for name, kind in BACKENDS.items()
        if (name == "native" or not only_native) and all(kind.has(each) for each in needed)
    ]
    metafunc.parametrize("fresh", names, indirect=True)


@pytest.fixture
def fresh(request: pytest.FixtureRequest, base: Path, paths: Paths, lower: Path) -> Iterator[Callable[[], Backend]]:
    """Makes instances, which are taken down afterwards."""
    kind = BACKENDS[request.param]
    if kind.root_only and os.geteuid() != 0:
        pytest.skip(f"covered by root's runs: the {request.param} engine requires root")
    made: list[Backend] = []

    def make() -> Backend:
        name = f"contract{next(_numbers):04}"
        root = base / name
        root.mkdir()
        owner = OWNER if os.geteuid() == 0 else os.geteuid()
        os.chown(root, owner, owner)
        instance = Instance(id=name, name=name, root=str(root), env_file="devbox.toml", owner=owner, group=owner)
        made.append(kind.build(paths, lower, instance))
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
    """A fresh instance of the native engine, for tests of its own behaviour."""
    assert isinstance(backend.engine, NativeEngine)
    return backend
