"""One home per test run: the base image is bootstrapped once, and packages are downloaded once for all homes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.machine import lacking

from devbox.host.paths import Paths
from devbox.images.image_store import ImageStore


@pytest.fixture(scope="session")
def homes() -> Iterator[Path]:
    """The directory of this run's homes."""
    if os.geteuid() != 0:
        lacking("the store's contract is checked as root; ordinary users are checked by the scenarios")
    if shutil.which("mmdebstrap") is None:
        lacking("mmdebstrap is not installed")
    made = Path(tempfile.mkdtemp(prefix="devbox-images-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session", autouse=True)
def shared_downloads(homes: Path) -> Iterator[None]:
    """Fresh homes share their downloads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEVBOX_CACHE", str(homes / "cache"))
        yield


@pytest.fixture(scope="session")
def paths(homes: Path) -> Paths:
    """The home most tests use."""
    return Paths(str(homes / "home"), str(homes / "run"))


@pytest.fixture
def store(paths: Paths) -> ImageStore:
    """Its store."""
    return ImageStore(paths)
