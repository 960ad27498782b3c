"""State files that are valid JSON, but not of devbox's making: one clear error, or treated as missing."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import builders
from support.builders import container, resolved
from support.deployments import deployment

from devbox.deploy.haproxy.tally import REFUSED, CounterReading
from devbox.deploy.records import TallyRecord
from devbox.errors import DevboxError, LedgerDamaged
from devbox.host.paths import Paths
from devbox.images.store import layout, snapshots
from devbox.images.store.step_cache import StepCache
from devbox.isolation import state
from devbox.isolation.types import Launch, ProcessRef, ProcessSpec, SupervisedContainer, pack
from devbox.model.container import Grant
from devbox.model.image import BakedImage, ImageConfig, Layer
from devbox.model.ledger import INTENT
from devbox.model.observed import LastApplied, TaskDone
from devbox.model.release import BuildInputs
from devbox.model.spec import LockedSpec
from devbox.records import noop, spec_cache
from devbox.records.deployed import DeployedRecord, StageDeployments
from devbox.records.instance import InstanceRecords
from devbox.records.ledger import Ledger
from devbox.records.observations import ConfirmedRecord, StageConfirmation, StageHealthRecord
from devbox.records.releases import Releases
from devbox.records.tests import MatrixRecords, TaskRecord
from devbox.records.trust import GrantRecord

ID = "0123456789ab"
KEY = f"sha256:{'1' * 64}"
WRONG = ("null", '"x"', '"\\ud800"', "-1", "1.5", "true", "1e999", "NaN", "Infinity", str(10**30), "[]", "[[1]]", "{}")
LAYER = Layer(digest=f"sha256:{'a' * 64}", diff_id=f"sha256:{'a' * 64}", size=1, media_type=layout.LAYER)
BAKED = BakedImage(
    key=KEY, digest="sha256:d", manifest="sha256:m", config_digest="sha256:c", layers=(LAYER,), config=ImageConfig()
)
INPUTS = BuildInputs(
    image=KEY, files={"a": KEY}, commands=("make", ("a", "b")), env={}, output=("out",), network="none"
)
SHOP = resolved(container("db"), container("dev", role="dev", needs=("db",)))
_MADE = replace(deployment("1").release, created_at="2026-01-01T00:00:00Z")
RELEASE = replace(_MADE, id=_MADE.computed_id)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "home"), str(tmp_path / "run"), str(tmp_path / "config/devbox"))


def _write_state(paths: Paths) -> None:
    own = state.require_process(os.getpid())
    row = state.ContainerState("db", "service", "i", KEY, KEY, KEY, "running", "healthy", own)
    os.makedirs(os.path.dirname(paths.state(ID)), exist_ok=True)
    state.StateFile(paths, ID).write(
        state.InstanceState(state.FORMAT, state.read_boot_id(), own, containers=(row,), subnet="10.1")
    )


def _write_launch(paths: Paths) -> None:
    launch = Launch("db", "x", ("/l",), "/top", ProcessSpec(("a",), ("A=b",), "/"), joins=ProcessRef(1, 2))
    item = SupervisedContainer(launch, "service", "i", KEY, KEY, KEY, hidden=("secret",))
    os.makedirs(os.path.dirname(paths.launch_file(ID, "db")), exist_ok=True)
    Path(paths.launch_file(ID, "db")).write_text(json.dumps(pack(item)))


def _write_steps(paths: Paths) -> None:
    os.makedirs(snapshots.get_snapshot_dir(paths, LAYER.diff_id), exist_ok=True)
    StepCache(paths).record_pulled(BAKED, {"git": "1"})


def _read_steps(paths: Paths) -> None:
    cache = StepCache(paths)
    for read in (cache.find_layer, cache.find_versions, cache.list_evidence):
        read(KEY)
    cache.read_records()


def _read_instance(paths: Paths) -> None:
    records = InstanceRecords(paths, ID)
    for read in (records.read_place, records.read_directory, records.read_stage, records.is_protected):
        with contextlib.suppress(DevboxError):
            read()
    for port in records.read_ports().values():
        assert 0 < port < 65536
    records.read_due_hooks()
    records.record_due_hooks(["created"])


def _write_cache(paths: Paths) -> None:
    locked = LockedSpec(instance=SHOP.instance, images=SHOP.images, containers=SHOP.containers)
    spec_cache.write(paths, paths.project(ID), locked, "1", inputs=("/etc/hostname",), variables=("HOME",))


def _read_cache(paths: Paths) -> None:
    spec_cache.read(paths, paths.project(ID), "1")
    if sources := spec_cache.read_sources(paths.project(ID)):
        noop.stamp_files(sources[0])
        noop.stamp_variables(sources[1])


def _read_builds(paths: Paths) -> None:
    releases = Releases(paths, ID)
    for each in releases.list_releases():
        each.short_id.encode()
    releases.find("")


def _tally(paths: Paths) -> TallyRecord:
    return TallyRecord(paths, ID, router="router")


def _read_matrix(paths: Paths) -> None:
    records = MatrixRecords(paths, ID)
    records.record_written(["a"])
    for read in (records.read_tree, records.read_cached_matrix, records.find_name):
        read(KEY)


def _write_matrix(paths: Paths) -> None:
    records = MatrixRecords(paths, ID)
    records.record_written(["reports/"])
    records.record_tree(KEY, {"a": KEY})


READING = CounterReading(router="1 7", began=0.0, counts={("web", REFUSED): 3}, open=2, accepted=10)
DONE = TaskDone(commands=KEY, image=KEY, files={"a": KEY})
LAST = LastApplied(images=builders.key_images(SHOP), specs=SHOP.containers, setup_files={"dev": {"a": "1"}})

Act = Callable[[Paths], Any]
# name → path, writer, reader
RECORDS: dict[str, tuple[Callable[[Paths], str], Act, Act]] = {
    "step": (lambda p: f"{p.steps}/{'1' * 64}.json", _write_steps, _read_steps),
    "tally": (
        lambda p: p.tally(ID),
        lambda p: _tally(p).record_reading(lambda: READING),
        lambda p: _tally(p).record_reading(lambda: READING),
    ),
    "last": (
        lambda p: f"{p.project(ID)}/last.json",
        lambda p: InstanceRecords(p, ID).record_applied(LAST),
        lambda p: InstanceRecords(p, ID).read_last_applied().specs.items(),
    ),
    "build": (
        lambda p: f"{p.project(ID)}/build.json",
        lambda p: InstanceRecords(p, ID).record_build(INPUTS),
        lambda p: InstanceRecords(p, ID).read_last_build(),
    ),
    "ports": (
        lambda p: f"{p.project(ID)}/ports.json",
        lambda p: InstanceRecords(p, ID).record_ports({"a/1/tcp": 8000}),
        _read_instance,
    ),
    "place": (
        lambda p: f"{p.project(ID)}/place.json",
        lambda p: InstanceRecords(p, ID).record_place("/", "devbox.toml", stage="a", protected=True),
        _read_instance,
    ),
    "hooks": (
        lambda p: f"{p.project(ID)}/hooks.json",
        lambda p: InstanceRecords(p, ID).record_due_hooks(["changed"]),
        _read_instance,
    ),
    "credentials": (
        lambda p: f"{p.project(ID)}/credentials.json",
        lambda p: InstanceRecords(p, ID).ensure_credentials(("db.password",)),
        lambda p: "".join(InstanceRecords(p, ID).ensure_credentials(("db.password",)).values()),
    ),
    "cache": (lambda p: f"{p.project(ID)}/resolved.json", _write_cache, _read_cache),
    "deployed": (
        lambda p: p.stage_deployments(ID),
        lambda p: DeployedRecord(p, ID).write(StageDeployments(running=deployment("1"), draining={"a": 1.0})),
        lambda p: DeployedRecord(p, ID).read().runs(deployment("1")),
    ),
    "release": (
        lambda p: f"{p.releases(ID)}/{RELEASE.id.removeprefix('sha256:')}.json",
        lambda p: Releases(p, ID).add(RELEASE),
        _read_builds,
    ),
    "newest": (
        lambda p: f"{p.host_project(ID)}/newest-release.json",
        lambda p: Releases(p, ID).add(RELEASE),
        _read_builds,
    ),
    "home": (
        lambda p: f"{p.host_state}/home.json",
        lambda p: Ledger(p, ID).append(INTENT, body={}),
        lambda p: Ledger(p, ID).read_entries(),
    ),
    "head": (
        lambda p: f"{p.host_state}/heads/{ID}.json",
        lambda p: Ledger(p, ID).append(INTENT, body={}),
        lambda p: (Ledger(p, ID).read_entries(), Ledger(p, ID).read_remembered_hash()),
    ),
    "grants": (
        lambda p: p.release_grants(ID),
        lambda p: GrantRecord(p, ID, for_releases=True).write([Grant(subject="a", kind="network", value="c")]),
        lambda p: GrantRecord(p, ID, for_releases=True).read(),
    ),
    "confirmed": (
        lambda p: f"{p.host_project(ID)}/confirmed.json",
        lambda p: ConfirmedRecord(p, ID).write("a", StageConfirmation()),
        lambda p: ConfirmedRecord(p, ID).read(),
    ),
    "health": (
        lambda p: f"{p.host_state}/watched/{ID}/a.json",
        lambda p: StageHealthRecord(p, ID).record_health("a", KEY, healthy=True),
        lambda p: (
            StageHealthRecord(p, ID).is_healthy("a", KEY),
            StageHealthRecord(p, ID).record_health("a", KEY, healthy=True),
        ),
    ),
    "tasks": (
        lambda p: p.tasks(ID),
        lambda p: TaskRecord(p, ID).record_success("lint", DONE),
        lambda p: (TaskRecord(p, ID).read_last("lint"), TaskRecord(p, ID).record_success("x", DONE)),
    ),
    "written": (lambda p: f"{p.tests(ID)}/written.json", _write_matrix, _read_matrix),
    "tree": (lambda p: f"{p.tests(ID)}/trees/{'1' * 16}.json", _write_matrix, _read_matrix),
    "state": (lambda p: p.state(ID), _write_state, lambda p: state.read_state(p, ID)),
    "launch": (lambda p: p.launch_file(ID, "db"), _write_launch, lambda p: state.load_launch_file(p, ID, "db")),
}


def _replace_each(plain: Any) -> Iterator[Any]:
    """Yield copies of a value in each of which another part is replaced by a placeholder."""
    yield "<HERE>"
    for key, value in plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ():
        for changed in _replace_each(value):
            copy = plain.copy()
            copy[key] = changed
            yield copy


@pytest.mark.parametrize("name", RECORDS)
def test_a_value_of_another_type_causes_no_internal_error(name: str, paths: Paths) -> None:
    get_path, write, read = RECORDS[name]
    write(paths)
    path, sound = Path(get_path(paths)), Path(get_path(paths)).read_bytes()
    read(paths)
    path.write_bytes(sound)
    variants = [json.dumps(each) for each in _replace_each(json.loads(sound))]
    assert len(variants) > 1
    for variant in variants:
        for wrong in WRONG:
            path.write_text(variant.replace('"<HERE>"', wrong))
            try:
                with contextlib.suppress(DevboxError):
                    read(paths)
            except Exception as error:
                raise AssertionError(f"{type(error).__name__} by {path.read_text()}") from error
    path.write_bytes(sound)
    read(paths)


@pytest.mark.parametrize("name", ["step", "tally", "last", "build", "cache", "tasks", "written"])
def test_a_damaged_cache_is_rebuilt(name: str, paths: Paths) -> None:
    get_path, write, read = RECORDS[name]
    write(paths)
    Path(get_path(paths)).write_text('{"format": 1, "layer": 5, "image": [], "tally": {"peak": "x"}, "last": {"a": 1}}')
    read(paths)
    write(paths)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("deployed", {"deployed": {"draining": {"\ud800": 1}}}),
        ("deployed", {"deployed": {"draining": {"a": "soon"}}}),
        ("head", {"seq": 10**30}),
        ("home", {"id": "\ud800"}),
        ("ports", {"ports": {"a": float("inf")}}),
    ],
)
def test_a_damaged_record_is_one_error_that_names_the_file(name: str, change: dict[str, Any], paths: Paths) -> None:
    get_path, write, read = RECORDS[name]
    write(paths)
    path = Path(get_path(paths))
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}))
    with pytest.raises(DevboxError, match="damaged") as error:
        read(paths)
    assert str(path) in error.value.sentence
    assert str(path) in error.value.remedy


@pytest.mark.parametrize("step", [1, 7])
def test_flipped_bytes_of_a_ledger_are_reported_as_damage(step: int, paths: Paths) -> None:
    ledger = Ledger(paths, ID)
    for number in range(3):
        ledger.append(INTENT, release=KEY, stage="test", attempt=number, body={"text": "ü" * 20})
    with ledger.acquire("test", purpose="promote"):
        database = Path(paths.ledger(ID), "ledger.db")
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        sound = database.read_bytes()
    for at in range(0, len(sound), 97 * step):
        flipped = bytearray(sound)
        flipped[at : at + 8] = bytes(each ^ (0xFF >> (step - 1)) for each in flipped[at : at + 8])
        for suffix in ("-wal", "-shm"):
            Path(f"{database}{suffix}").unlink(missing_ok=True)
        database.write_bytes(flipped)
        with contextlib.suppress(LedgerDamaged):
            Ledger(paths, ID).read_entries()
        with contextlib.suppress(LedgerDamaged):
            Ledger(paths, ID).find_holder("test")


@pytest.mark.parametrize("change", ["since = 1e300", "expires = 9e999", "expires = -9e999"])
def test_a_lease_with_impossible_times_is_damage(change: str, paths: Paths) -> None:
    ledger = Ledger(paths, ID)
    ledger.append(INTENT, body={})
    with ledger.acquire("test", purpose="promote"):
        with contextlib.closing(sqlite3.connect(f"{paths.ledger(ID)}/ledger.db")) as connection, connection:
            connection.execute(f"UPDATE lease SET {change}")
        with pytest.raises(LedgerDamaged, match="invalid lease"):
            ledger.find_holder("test")


@pytest.mark.parametrize("column", ["at", "body"])
def test_bytes_that_are_no_text_in_a_ledger_are_damage(column: str, paths: Paths) -> None:
    Ledger(paths, ID).append(INTENT, body={})
    with contextlib.closing(sqlite3.connect(f"{paths.ledger(ID)}/ledger.db")) as connection, connection:
        connection.execute(f"UPDATE entry SET {column} = CAST(x'ff80' AS TEXT)")
    with pytest.raises(LedgerDamaged, match="the ledger") as error:
        Ledger(paths, ID).read_entries()
    assert "release rebuild" in error.value.remedy


@pytest.mark.parametrize("text", ["", "x", "99", "2\0/a=b", "1\0#x=y", "1\0@/none=0 0", "1\0"])
def test_a_damaged_record_of_a_noop_counts_as_none(text: str, tmp_path: Path) -> None:
    path = tmp_path / "noop"
    path.write_text(f"{noop.compute_reader_id()}\0dev\0{text}")
    assert noop.NoopRecord.read(str(path)) is None
    path.write_text(f"{noop._FORMAT}\0dev\0/w\0/w\0{text}")
    assert noop.read_tool_call(str(path)) is None
