"""Real containers on the isolation core: as root with each runtime, or as the ordinary user who runs the tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import rootfs
from support.machine import lacking
from support.place import Place, place

from devbox.errors import HostError
from devbox.host import programs
from devbox.host.paths import Paths
from devbox.isolation import idmap
from devbox.isolation.types import IdMap

RUNTIMES = ["crun", "runc"] if os.geteuid() == 0 else ["crun"]


@pytest.fixture(scope="session")
def base() -> Iterator[Path]:
    """A directory that the mapped root can reach, on disk."""
    made = Path(tempfile.mkdtemp(prefix="devbox-isolation-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def ids(base: Path) -> IdMap:
    """The id map of a store."""
    try:
        for program in ("catatonit", "pasta", "nft"):
            programs.find(program)
        (base / "home").mkdir()
        return idmap.load_store_map(Paths(str(base / "home"), str(base / "run")))
    except HostError as error:
        lacking(error.sentence)
        raise


@pytest.fixture(scope="session")
def lower(base: Path, ids: IdMap) -> Iterator[Path]:
    """A minimal Debian as an overlay lower."""
    made = rootfs.unpack(ids, base / "snapshots" / rootfs.SUITE)
    yield made
    for directory in (base / "snapshots", base / "tops"):
        if directory.exists():
            rootfs.remove(ids, directory)


@pytest.fixture(scope="module", params=RUNTIMES)
def here(request: pytest.FixtureRequest, base: Path, ids: IdMap, lower: Path) -> Iterator[Place]:
    """An instance on each runtime, shared by a module's tests, which use container names of their own."""
    try:
        programs.find(request.param)
    except HostError as error:
        lacking(error.sentence)
    run_dir = Path(tempfile.mkdtemp(prefix="devbox-place-", dir="/dev/shm"))
    run_dir.chmod(0o711)
    tops = Path(tempfile.mkdtemp(prefix="top-", dir=_made(base / "tops")))
    with place(
        ids, name=f"core-test-{os.getpid()}", runtime=request.param, run_dir=run_dir / "i", lower=lower, tops=tops
    ) as made:
        yield made
    shutil.rmtree(run_dir)


@pytest.fixture
def clear(here: Place) -> Iterator[Place]:
    """The instance; the test's containers are removed afterwards."""
    yield here
    here.clear()


def _made(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    directory.chmod(0o755)
    return directory
