"""Files of a router: only its running supervisor names their directory, never a file below the home."""

from __future__ import annotations

import json
import os
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from support.deployments import deployment

from devbox.deploy import stage_containers
from devbox.deploy.haproxy import config, metrics
from devbox.deploy.router import Router
from devbox.deploy.router_files import RouterFiles
from devbox.errors import EngineError
from devbox.host.paths import Paths
from devbox.model.container import compute_spec_key
from devbox.model.observed import Observed, ObservedContainer
from devbox.model.router import WHOLE, RouterState

ID = "0123456789ab"
STATE = RouterState(share=WHOLE)
NAMES = (config.CONFIG, config.SHARE, config.CHECKS, metrics.PAGE, metrics.ROLLOUT)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "home"), str(tmp_path / "run"))


@pytest.fixture
def earlier(paths: Paths) -> Path:
    """The directory of a router below the home."""
    directory = Path(paths.project(ID), "router")
    directory.mkdir(parents=True)
    return directory


def start(paths: Paths, directory: Path) -> None:
    """Write down, as a supervisor does, that the router runs with this directory."""
    path = Path(paths.launch_file(ID, "router"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"launch": {"binds": [{"source": str(directory), "target": "/run/router"}]}}))


def running(key: str) -> ObservedContainer:
    """A running router with this spec key."""
    return ObservedContainer(
        name="router",
        role="glue",
        image="router",
        image_key="",
        digest="",
        state="running",
        health="healthy",
        pid=1,
        spec_key=key,
    )


def listen(directory: Path) -> None:
    """Bind a socket there, by a path that is short enough."""
    opened = os.open(directory, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(f"/proc/self/fd/{opened}/{config.SOCKET}")
    os.close(opened)


def test_issue10_2_the_files_lie_outside_of_the_home(paths: Paths):
    files = RouterFiles(paths, ID)
    files.prepare()
    files.write(STATE)
    assert files.active_directory == files.directory == f"{paths.host_project(ID)}/router"
    assert sorted(os.listdir(files.directory)) == sorted(NAMES)
    assert stat.S_IMODE(os.stat(paths.config).st_mode) == 0o700
    assert not os.path.exists(paths.home)


@pytest.mark.parametrize("launch", [None, "{", "[]", '{"launch": {}}', '{"launch": {"binds": [{"source": "/"}]}}'])
def test_issue10_2_no_directory_below_the_home_counts_by_itself(paths: Paths, earlier: Path, launch: str | None):
    listen(earlier)
    if launch is not None:
        start(paths, earlier)
        Path(paths.launch_file(ID, "router")).write_text(launch)
    files = RouterFiles(paths, ID)
    assert files.active_directory == files.directory
    assert not files.is_attached
    with pytest.raises(EngineError, match="the router does not respond"):
        Router(paths, ID).runtime.query("show info")
    files.prepare()
    assert not earlier.exists()


def test_issue10_2_a_router_of_an_earlier_version_is_supplied_where_it_runs(paths: Paths, earlier: Path):
    start(paths, earlier)
    listen(earlier)
    files = RouterFiles(paths, ID)
    files.prepare()
    files.write(STATE)
    assert files.active_directory == str(earlier)
    assert files.is_attached
    for directory in (earlier, Path(files.directory)):
        assert (directory / config.SHARE).read_text() == config.render_share_map(STATE)
    start(paths, Path(files.directory))
    assert files.active_directory == files.directory
    files.prepare()
    assert not earlier.exists()


def test_issue10_2_an_upgrade_replaces_no_running_router(paths: Paths, earlier: Path):
    """One that has to be replaced, as for another port, gets its files from the configuration directory."""
    before = stage_containers.build_router(deployment("1"), directory=str(earlier), mount="scratch")
    router, seen = RouterFiles(paths, ID), running(compute_spec_key(before))
    after = stage_containers.build_router(deployment("1"), directory=router.directory)
    assert router.build_container(deployment("1"), seen) == after, "it does not run from there"
    start(paths, earlier)
    assert router.build_container(deployment("1"), seen) == before
    assert router.build_container(deployment("1"), running("sha256:1")) == after
    assert router.build_container(deployment("1"), replace(seen, state="exited")) == after
    assert router.build_container(deployment("1"), None) == after


def test_issue10_2_what_is_removed_of_an_earlier_version_is_reached_over_no_link(
    paths: Paths, earlier: Path, tmp_path: Path
):
    (tmp_path / "other" / "router").mkdir(parents=True)
    earlier.rmdir()
    earlier.parent.rmdir()
    earlier.parent.symlink_to(tmp_path / "other")
    RouterFiles(paths, ID).prepare()
    assert (tmp_path / "other" / "router").is_dir()


def test_a_router_whose_directory_was_removed_counts_as_another_one(paths: Paths):
    """It would read neither files nor commands any more, so it is to be replaced."""
    router = RouterFiles(paths, ID)
    seen = running("sha256:1")
    observed = Observed(supervised=True, containers={"router": seen})
    assert router.recognize(observed).containers["router"].spec_key == ""
    router.prepare()
    assert router.recognize(observed).containers["router"].spec_key == ""
    listen(Path(router.directory))
    assert router.recognize(observed) == observed
    assert router.recognize(Observed(supervised=True)) == Observed(supervised=True)
