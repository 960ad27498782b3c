"""Files on the host are all old or all new, wherever devbox is killed."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from devbox.errors import HostError
from devbox.execute import installing
from devbox.host.paths import Paths
from devbox.model.install import Install, InstalledFile, Manifest
from devbox.plan import installs as planning
from devbox.records.installed import InstalledRecords

WRITES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.chmod")
ONE = {"bin/a": "a1", "bin/b": "b1", "old/deep/c": "c1"}
TWO = {"bin/a": "a2", "new/deep/d": "d2", "bin/e": "e2"}


class Host:
    """A directory that represents the host, and devbox's records of it."""

    def __init__(self, place: Path) -> None:
        self.root = place / "host"
        self.root.mkdir()
        (self.root / "bin").mkdir()
        (self.root / "bin/other").write_text("somebody's")
        self._copies = place / "copies"
        self.records = InstalledRecords(Paths(str(place / "home"), str(place / "run")))

    def install(self, desired: Mapping[str, str]) -> None:
        """Put these files there, in the place of those of before."""
        sources, found = {}, []
        for path, text in desired.items():
            copy = self._copies / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text)
            place = str(self.root / path)
            sources[place] = str(copy)
            found.append(InstalledFile(path=place, digest=_digest(copy), mode=0o755))
        after = Manifest(name="x", project="/p", instance="i", image="sha256:0", installed_at="", files=tuple(found))
        before = self.records.find("i", "x")
        paths = {*sources, *(each.path for each in (before.files if before else ()))}
        placement = planning.plan_placement(after.files, before, installing.observe_files(paths), {}, force=False)
        assert not placement.conflicts
        installing.apply(placement, sources, before=before, after=after, records=self.records)

    def files(self) -> dict[str, str]:
        """Everything that is there."""
        return {
            str(path.relative_to(self.root)): path.read_text() for path in self.root.rglob("*") if not path.is_dir()
        }

    def directories(self) -> set[str]:
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_dir()}


def _digest(path: Path) -> str:
    found = installing.read_entry(str(path.resolve()))
    assert found is not None
    return found.digest


def killed_at(point: int, work: Callable[[], None]) -> bool:
    """Do the work in a child that is killed just before its `point`-th change of the disk; whether it came so far."""
    child = os.fork()
    if child == 0:
        try:
            seen = [0]

            def watch(event: str, details: tuple[object, ...]) -> None:
                if event in WRITES and not (event == "open" and not int(str(details[2] or 0)) & os.O_CREAT):
                    seen[0] += 1
                    if seen[0] == point:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(watch)
            work()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.fixture
def memory() -> Iterator[Path]:
    """A directory in memory: the tests kill a process, not the host, so fsync may be free."""
    place = Path(tempfile.mkdtemp(prefix="devbox-installing-", dir="/dev/shm"))
    yield place
    shutil.rmtree(place)


@pytest.mark.parametrize("desired", [TWO, {}, {**ONE, "bin/f": "f"}], ids=["upgrade", "uninstall", "addition"])
def test_a_kill_at_any_point_leaves_all_old_or_all_new(memory: Path, desired: dict[str, str]):
    foreign = {"bin/other": "somebody's"}
    outcomes = set()
    point, came_so_far = 0, True
    while came_so_far:
        point += 1
        place = memory / str(point)
        place.mkdir()
        host = Host(place)
        host.install(ONE)
        came_so_far = killed_at(point, lambda host=host: host.install(desired))
        installing.recover(host.records)
        files = host.files()
        assert files in (ONE | foreign, desired | foreign), f"killed before change {point}"
        manifest = host.records.find("i", "x")
        known = {str(Path(each.path).relative_to(host.root)) for each in manifest.files} if manifest else set()
        assert known | foreign.keys() == files.keys()
        assert host.records.read_journal() is None
        needed = {str(parent) for path in files for parent in Path(path).parents} - {"."}
        assert host.directories() == needed
        outcomes.add(tuple(sorted(files.items())))
    assert point > 10
    assert len(outcomes) == 2, "some kills were taken back, some carried on"


def test_recovery_can_be_killed_too(memory: Path):
    host = Host(memory)
    host.install(ONE)
    for point in range(3, 40, 4):
        if not killed_at(point, lambda: host.install(TWO)):
            break
        for again in (1, 2, 4, 6):
            killed_at(again, lambda: installing.recover(host.records))
        installing.recover(host.records)
        found = host.files()
        assert found in (ONE | {"bin/other": "somebody's"}, TWO | {"bin/other": "somebody's"})
        host.install(ONE)


def test_everything_is_uninstalled_that_is_still_as_it_was(memory: Path):
    host = Host(memory)
    host.install(ONE)
    (host.root / "bin/b").write_text("mine")
    installing.clear(host.records)
    assert host.files() == {"bin/other": "somebody's", "bin/b": "mine"}
    assert host.directories() == {"bin"}
    assert host.records.list_manifests() == []


def test_a_failed_preparation_is_undone(tmp_path: Path):
    host = Host(tmp_path)
    host.install(ONE)
    (tmp_path / "copies/bin/a").unlink()
    before = host.records.find("i", "x")
    after = Manifest(
        name="x",
        project="/p",
        instance="i",
        image="sha256:0",
        installed_at="",
        files=(
            InstalledFile(path=str(host.root / "made/first"), digest="sha256:1", mode=0o755),
            InstalledFile(path=str(host.root / "bin/a"), digest="sha256:1", mode=0o755),
        ),
    )
    sources = {str(host.root / "made/first"): __file__, str(host.root / "bin/a"): str(tmp_path / "nothing")}
    placement = planning.plan_placement(after.files, before, installing.observe_files(sources), {}, force=False)
    with pytest.raises(FileNotFoundError):
        installing.apply(placement, sources, before=before, after=after, records=host.records)
    assert host.files() == ONE | {"bin/other": "somebody's"}
    assert "made" not in host.directories()
    assert host.records.read_journal() is None


def test_a_link_that_appears_on_the_way_is_not_followed(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "way").symlink_to("real")
    with pytest.raises(HostError, match="or below a link"):
        installing.write_new_file(__file__, str(tmp_path / "way/x"), mode=0o644)
    assert list((tmp_path / "real").iterdir()) == []


def test_a_place_in_the_home_stays_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home = tmp_path / "home"
    (home / "dotfiles/bin").mkdir(parents=True)
    (home / ".local").symlink_to("dotfiles")
    (home / "out").symlink_to("/usr/local")
    monkeypatch.setenv("HOME", str(home))
    assert installing.resolve_place("~/.local/bin/x") == f"{home.resolve()}/dotfiles/bin/x"
    assert installing.resolve_place("~/new/bin/x") == f"{home.resolve()}/new/bin/x"
    with pytest.raises(HostError, match="leads out of your home"):
        installing.resolve_place("~/out/bin/x")
    if os.geteuid() == 0:
        os.chown(home / "out", 12345, 12345, follow_symlinks=False)
        with pytest.raises(HostError, match="a symbolic link owned by another user"):
            installing.resolve_place(f"{home}/out/bin/x")


def test_files_belong_to_the_caller_without_setuid_and_links_do_not_escape(tmp_path: Path):
    copies = tmp_path / "0"
    (copies / "bin").mkdir(parents=True)
    (copies / "bin/tool").write_text("x")
    (copies / "bin/tool").chmod(0o4755)
    (copies / "bin/t").symlink_to("tool")
    desired = Install(name="x", image="image", files={"/opt/x": "/opt/x"}, where="devbox.toml:1")
    found = installing.list_files(desired, str(tmp_path), umask=0o027, set_id=False)
    assert [(file.installed.path, file.installed.mode) for file in found] == [
        ("/opt/x/bin/t", 0o777),
        ("/opt/x/bin/tool", 0o750),
    ]
    kept = installing.list_files(desired, str(tmp_path), umask=0o022, set_id=True)
    assert kept[1].installed.mode == 0o4755
    for leads_to in ("/etc/passwd", "../../../etc/passwd"):
        (copies / "bin/t").unlink()
        (copies / "bin/t").symlink_to(leads_to)
        with pytest.raises(HostError, match="cannot install the link"):
            installing.list_files(desired, str(tmp_path), umask=0o022, set_id=False)
