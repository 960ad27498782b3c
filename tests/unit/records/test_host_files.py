"""Files that decide about releases: a process that can write only below the home cannot change them."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.deployments import deployment

from devbox.attest import keys as crypto
from devbox.commands import inventory
from devbox.deploy.haproxy.tally import CUT
from devbox.deploy.records import GrayStore, OperatorRequest, TallyRecord
from devbox.doctor import clean
from devbox.doctor.leftovers import list_instances
from devbox.errors import HostError
from devbox.execute import installing
from devbox.gray import policy
from devbox.gray.release import GrayRelease
from devbox.gray.state import GrayState
from devbox.host.paths import Paths
from devbox.model import codec
from devbox.model.ids import compute_sha256
from devbox.model.install import Journal, Manifest
from devbox.model.ledger import INTENT
from devbox.records.deployed import DeployedRecord, StageDeployments
from devbox.records.host_files import HostFiles
from devbox.records.installed import InstalledRecords
from devbox.records.instance import InstanceRecords
from devbox.records.keyring import KeyStore
from devbox.records.ledger import Ledger

ID = "0123456789ab"
ONE, TWO = deployment("1"), deployment("2")
HELD = """
import fcntl, os, sys
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
lock.write(str(os.getpid()))
lock.flush()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "home"), str(tmp_path / "run"))


def trial(began: float) -> GrayRelease:
    rules = policy.build_policy(ONE.stage.strategy, completes=True)
    return GrayRelease(
        stage="staging", deployment=ONE, policy=rules, rollout=GrayState.begin(rules), side="green", began=began
    )


def write_all(paths: Paths, number: int) -> None:
    """Every file, with contents that tell the number."""
    DeployedRecord(paths, ID).write(StageDeployments(running=deployment(str(number))))
    GrayStore(paths, ID).write(trial(number))
    GrayStore(paths, ID).request(OperatorRequest(what="hold" if number == 1 else "abort", by="ann"))
    TallyRecord(paths, ID, router="router").add(CUT, number)
    HostFiles(paths).write(paths.promoted_stages(ID), str(number))
    HostFiles(paths).write(paths.stage_services(ID), str(number))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeyStore, "check_free", lambda *_: None)
        KeyStore(paths).add_command("kms", P256, f"sign {number}")


MANIFEST = Manifest(name="tools", project="/p", instance=ID, image="sha256:0", installed_at="", files=())
P256 = crypto.generate(crypto.P256).public


def seen(paths: Paths) -> tuple[object, ...]:
    """All values that are read from them, except the request, which reading consumes."""
    counts = TallyRecord(paths, ID, router="router").read_counts()
    assert counts is not None
    return (
        DeployedRecord(paths, ID).read(),
        GrayStore(paths, ID).read(),
        counts.lost[CUT],
        HostFiles(paths).read(paths.promoted_stages(ID)),
        HostFiles(paths).read(paths.stage_services(ID)),
        KeyStore(paths).find("kms").command,
    )


def earlier(paths: Paths, source: str) -> None:
    """Put the files where an earlier version kept them."""
    shutil.copytree(source, paths.home, dirs_exist_ok=True)


def forge(paths: Paths, copies: Path) -> None:
    earlier(paths, f"{copies}/other")


def delete(paths: Paths, copies: Path) -> None:
    shutil.rmtree(paths.projects, ignore_errors=True)


def put_back(paths: Paths, copies: Path) -> None:
    earlier(paths, f"{copies}/first")


@pytest.mark.parametrize("how", [forge, delete, put_back])
def test_issue10_2_what_lies_below_the_home_changes_nothing(
    paths: Paths, tmp_path: Path, how: Callable[[Paths, Path], None]
):
    other = Paths(str(tmp_path / "other-home"), paths.runtime)
    write_all(other, 7)
    shutil.copytree(other.host_files, tmp_path / "other")
    write_all(paths, 1)
    shutil.copytree(paths.host_files, tmp_path / "first")
    write_all(paths, 2)
    before = seen(paths)
    how(paths, tmp_path)
    assert seen(paths) == before
    request = GrayStore(paths, ID).consume_request()
    assert request == OperatorRequest(what="abort", by="ann")
    assert GrayStore(paths, ID).consume_request() is None


def test_issue10_2_no_file_below_the_home_has_a_gray_release_held_or_aborted(paths: Paths):
    GrayStore(paths, ID).write(trial(1))
    below = Path(paths.project(ID), "trial")
    below.mkdir(parents=True)
    for name in ("wish.json", "wish.json.taken"):
        (below / name).write_text('{"what": "abort", "by": "ann"}')
    assert GrayStore(paths, ID).consume_request() is None


def test_issue10_2_a_request_about_another_gray_release_is_passed_over(paths: Paths):
    """It ended while the user asked for it to be aborted, and the next one began."""
    gray_store = GrayStore(paths, ID)
    gray_store.request(OperatorRequest(what="abort", by="ann", began=1.0))
    assert gray_store.consume_request(trial(2.0)) is None
    gray_store.request(OperatorRequest(what="abort", by="ann", began=2.0))
    assert gray_store.consume_request(trial(2.0)) == OperatorRequest(what="abort", by="ann", began=2.0)


def test_issue10_2_the_log_of_a_detached_promotion_is_written_through_no_link(paths: Paths, tmp_path: Path):
    """It lay below the home, where a link in its place had another file emptied."""
    (tmp_path / "precious").write_text("precious")
    for log in (Path(paths.project(ID), "promotion.log"), Path(paths.promotion_log(ID))):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.symlink_to(tmp_path / "precious")
    os.chmod(paths.config, 0o700)
    with pytest.raises(HostError, match=r"cannot write promotion\.log"), GrayStore(paths, ID).begin_log():
        pass
    Path(paths.promotion_log(ID)).unlink()
    os.mkfifo(paths.promotion_log(ID))
    with pytest.raises(HostError, match=r"promotion\.log"), GrayStore(paths, ID).begin_log():
        pass
    os.unlink(paths.promotion_log(ID))
    Path(paths.promotion_log(ID)).write_text("of the last one")
    with GrayStore(paths, ID).begin_log() as log:
        os.write(log, b"hello")
    assert Path(paths.promotion_log(ID)).read_text() == "hello"
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.fixture
def old(paths: Paths, tmp_path: Path) -> Paths:
    """A home as an earlier version left it: the files below it, digests of gray releases outside of it."""
    write_all(paths, 1)
    shutil.copytree(paths.host_files, paths.home, dirs_exist_ok=True)
    shutil.rmtree(paths.host_files)
    digests = Path(paths.host_state, "trials")
    digests.mkdir()
    (digests / ID).write_text(compute_sha256(Path(paths.project(ID), "trial/trial.json").read_bytes()))
    return paths


def test_issue10_2_files_of_an_earlier_version_are_adopted_once(old: Paths):
    assert seen(old) == (StageDeployments(running=ONE), trial(1), 1, "1", "1", "sign 1")
    assert not os.path.exists(f"{old.host_state}/trials")
    shutil.rmtree(old.host_project(ID))
    assert DeployedRecord(old, ID).read() == StageDeployments()
    assert GrayStore(old, ID).read() is None
    found = [path for path in Path(old.host_files).rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}


def test_issue10_2_the_first_use_of_the_ledger_adopts_them_as_well(old: Paths):
    """Hence a file that is written later does not count."""
    Ledger(old, ID).append(INTENT, body={})
    assert HostFiles(old).is_known
    write_all(Paths(f"{old.home}-2", old.runtime), 2)
    earlier(old, Paths(f"{old.home}-2", old.runtime).host_files)
    assert DeployedRecord(old, ID).read() == StageDeployments(running=ONE)


def test_issue10_2_no_file_below_the_home_changes_the_host(paths: Paths, tmp_path: Path):
    """A forged journal had the next command of any project rename and remove files of the host."""
    (tmp_path / "precious").write_text("precious")
    InstalledRecords(paths).store(MANIFEST)
    other = Paths(str(tmp_path / "other"), paths.runtime)
    InstalledRecords(other).begin(_journal(tmp_path, "precious"))
    earlier(paths, other.host_files)
    records = InstalledRecords(paths)
    assert not records.is_interrupted
    assert not installing.recover(records)
    assert records.list_manifests() == [MANIFEST]
    shutil.rmtree(f"{paths.home}/installed")
    assert records.find(ID, "tools") == MANIFEST
    assert (tmp_path / "precious").read_text() == "precious"


def test_issue10_2_an_install_of_an_earlier_version_is_resumed(paths: Paths, tmp_path: Path):
    (tmp_path / "staged").write_text("new")
    below = Path(paths.home, "installed")
    below.mkdir(parents=True)
    journal = {"format": 1, "record": codec.dump(_journal(tmp_path, "staged"))}
    (below / "journal.json").write_text(json.dumps(journal))
    records = InstalledRecords(paths)
    assert records.is_interrupted
    assert installing.recover(records)
    assert (tmp_path / "placed").read_text() == "new"
    assert records.list_manifests() == [MANIFEST]
    assert not records.is_interrupted


def _journal(place: Path, name: str) -> Journal:
    """A change that was broken off when a file was about to get its name."""
    return Journal(
        name="tools",
        instance=ID,
        staged={str(place / name): str(place / "placed")},
        remove=(),
        directories=(),
        emptied=(),
        after=MANIFEST,
        committed=True,
    )


def test_issue10_2_a_gray_release_that_the_earlier_version_did_not_write_last_is_not_adopted(old: Paths):
    Path(old.project(ID), "trial/trial.json").write_text("{}")
    assert GrayStore(old, ID).read() is None
    assert DeployedRecord(old, ID).read() == StageDeployments(running=ONE)


def test_issue10_2_an_adoption_that_was_killed_is_repeated(old: Paths):
    half = Path(f"{old.host_files}.new", "projects", ID)
    half.mkdir(parents=True)
    (half / "deployed.json").write_text("{")
    assert DeployedRecord(old, ID).read() == StageDeployments(running=ONE)
    assert not half.exists()


def test_issue10_2_the_copy_of_an_earlier_version_is_removed_once_outdated(old: Paths):
    """A running drift monitor of that version reads it until then."""
    record = DeployedRecord(old, ID)
    record.read()
    assert os.path.exists(f"{old.project(ID)}/deployed.json")
    record.write(StageDeployments(running=TWO))
    assert not os.path.exists(f"{old.project(ID)}/deployed.json")


def test_issue10_2_a_link_below_the_home_is_not_adopted(paths: Paths, tmp_path: Path):
    (tmp_path / "secret").write_text("secret")
    os.makedirs(paths.project(ID))
    os.symlink(tmp_path / "secret", f"{paths.project(ID)}/promoted.json")
    assert HostFiles(paths).read(paths.promoted_stages(ID)) is None


@pytest.fixture
def busy(old: Paths, request: pytest.FixtureRequest) -> Iterator[Paths]:
    """A process of the earlier version works on the stage."""
    lock = {"deploys": old.lock(ID), "controls": f"{old.project(ID)}/trial/controller.lock"}[request.param]
    os.makedirs(os.path.dirname(lock), exist_ok=True)
    argv = [sys.executable, "-c", HELD, lock]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as held:
        assert held.stdout is not None
        assert held.stdout.readline() == b"held\n"
        yield old


@pytest.mark.parametrize("busy", ["deploys", "controls"], indirect=True)
def test_issue10_2_what_an_earlier_version_is_about_to_write_is_not_adopted_yet(busy: Paths):
    with pytest.raises(HostError, match=r"another devbox \(pid \d+\) is using the stage") as error:
        DeployedRecord(busy, ID).read()
    assert error.value.remedy == "try again when it has exited"
    assert not HostFiles(busy).is_known


def test_issue10_2_a_reader_makes_nothing(paths: Paths):
    assert DeployedRecord(paths, ID).read() == StageDeployments()
    assert GrayStore(paths, ID).read() is None
    assert not os.path.exists(paths.config)


def test_issue10_2_a_directory_that_is_open_to_others_is_not_read(paths: Paths):
    DeployedRecord(paths, ID).write(StageDeployments(running=ONE))
    os.chmod(paths.config, 0o755)
    with pytest.raises(HostError, match="is accessible to other users"):
        DeployedRecord(paths, ID).read()


def _stage(paths: Paths, tmp_path: Path) -> None:
    InstanceRecords(paths, ID).record_place(str(tmp_path / "away"), "devbox.toml", stage="staging")
    DeployedRecord(paths, ID).write(StageDeployments(running=ONE))


def test_issue10_2_nothing_is_collected_while_it_is_not_known_what_a_stage_runs(paths: Paths, tmp_path: Path):
    """As with another DEVBOX_CONFIG than the one of its promotion."""
    _stage(paths, tmp_path)
    elsewhere = Paths(paths.home, paths.runtime, str(tmp_path / "elsewhere"))
    with pytest.raises(HostError, match="cannot determine the images"):
        inventory.collect_inventory(elsewhere)
    assert clean.list_orphans(elsewhere) == []
    assert inventory.collect_inventory(paths).merge_roots().digests == {ONE.release.image}


def test_issue10_2_images_of_a_stage_are_kept_if_its_directory_below_the_home_is_missing(paths: Paths, tmp_path: Path):
    _stage(paths, tmp_path)
    shutil.rmtree(paths.project(ID))
    assert inventory.collect_inventory(paths).merge_roots().digests == {ONE.release.image}


def test_issue10_2_removing_an_instance_removes_them(paths: Paths, tmp_path: Path):
    _stage(paths, tmp_path)
    write_all(paths, 1)
    (one,) = list_instances(paths)
    assert paths.host_project(ID) in one.list_directories(paths)
    clean.clean(paths)
    assert not os.path.exists(paths.config)


def test_issue10_2_the_command_of_a_key_is_removed_with_it(paths: Paths):
    write_all(paths, 1)
    KeyStore(paths).remove("kms")
    assert not os.path.exists(paths.key_command("kms"))


def test_issue10_2_the_deployment_of_a_stage_outlives_a_recreated_ledger(paths: Paths):
    Ledger(paths, ID).append(INTENT, body={})
    DeployedRecord(paths, ID).write(StageDeployments(running=ONE))
    home = Path(paths.host_state, "home.json")
    home.write_text("{")
    with pytest.raises(HostError, match="missing or damaged") as error:
        Ledger(paths, ID).append(INTENT, body={})
    assert error.value.remedy == f"rm -f {home}, then devbox release rebuild"
    home.unlink()
    Ledger(paths, ID).rebuild({"reason": "lost"})
    Ledger(paths, ID).append(INTENT, body={})
    assert DeployedRecord(paths, ID).read() == StageDeployments(running=ONE)
