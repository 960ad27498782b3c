"""Observing a stage plans the router update without writing; applying the deployment writes exactly that update."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from devbox.deploy import router_update
from devbox.deploy.router import Router
from devbox.deploy.stage_containers import ServedProcess
from devbox.host.paths import Paths
from devbox.model.router import WHOLE, Frontend, RouterState, Server, StickyKey
from devbox.records.deployed import DeployedRecord

ID = "0123456789ab"
WEB = ServedProcess(process="web", port=80, target=8000)
OLD, GONE = (Server(name=name, address="10.0.0.2", port=8000) for name in ("web-1-old", "web-1-gone"))
BEFORE = RouterState(fronts=(Frontend(process="web", port=80, blue=(OLD,), green=(GONE,)),), share=WHOLE)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "home"), str(tmp_path / "run"), str(tmp_path / "config"))


def files(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_planning_an_update_writes_nothing_and_preparing_writes_what_was_planned(paths: Paths, tmp_path: Path):
    router, record = Router(paths, ID), DeployedRecord(paths, ID)
    record.write(replace(record.read(), router=BEFORE, draining={"web-2-gone": 1.0, "web-2-old": 2.0}))
    before = files(tmp_path)
    update = router.plan_update([WEB], StickyKey(), existing={"web-1-old", "web-2-old"})
    assert files(tmp_path) == before
    router.prepare(update)
    after = record.read()
    assert (after.router, after.draining) == (update.state, {"web-2-old": 2.0})
    assert frozenset(after.draining) == update.draining
    assert after.router.cohort == update.state.cohort is not None
    written = files(tmp_path)
    router.prepare(update)
    assert files(tmp_path) == written, "it can be repeated after a kill"


def test_a_server_that_does_not_exist_is_dropped_and_is_not_draining():
    update = router_update.plan(BEFORE, {}, [WEB], None, existing={"web-1-old"})
    assert update.state.list_container_names() == {"web-1-old"}
    assert (update.lost, update.draining, update.reload) == ({"web-1-gone"}, frozenset(), False)


def test_a_server_whose_port_another_process_takes_is_draining(paths: Paths):
    other = ServedProcess(process="api", port=80, target=9000)
    state = replace(BEFORE, fronts=(*BEFORE.fronts, Frontend(process="api", port=81)))
    update = router_update.plan(state, {}, [other], None, existing={"web-1-old", "web-1-gone"})
    assert update.draining == {"web-1-old", "web-1-gone"}
    assert update.reload
    record = DeployedRecord(paths, ID)
    record.write(replace(record.read(), router=state))
    Router(paths, ID).prepare(update)
    assert record.read().draining.keys() == update.draining
