"""Project files: no access outside the project, no blocking on pipes, no unbounded reads."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from devbox.errors import DevboxError, HostError
from devbox.host import project, safe_files
from devbox.host.repository import files
from devbox.matrix import schedule

SECRET = "root:hunter2"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project, and next to it files that must not be read or written."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text(SECRET)
    made = tmp_path / "project"
    (made / "sub").mkdir(parents=True)
    (made / "file").write_text("text")
    return made


def test_links_within_the_tree_count(root: Path) -> None:
    (root / "sub/up").symlink_to("../file")
    (root / "whole").symlink_to(root / "file")
    (root / "dir").symlink_to("sub")
    (root / "round").symlink_to("sub/../dir/up")
    for path in ("file", "./sub/../file", "sub/up", "whole", "dir/up", "round"):
        assert safe_files.read(str(root), path) == b"text"


@pytest.mark.parametrize(
    "leads_to",
    ["../outside/secret", "/etc/passwd", "sub/../../outside/secret", "sub/out/secret", "/proc/self/root/etc/passwd"],
)
def test_issue9_a3_links_out_are_refused_without_a_word_of_what_is_there(root: Path, leads_to: str) -> None:
    (root / "sub/out").symlink_to(root.parent / "outside")
    (root / "link").symlink_to(leads_to)
    with pytest.raises(safe_files.UnusablePath):
        safe_files.read(str(root), "link")
    with pytest.raises(HostError) as caught:
        safe_files.read_text(str(root), "link")
    assert "link" in caught.value.sentence
    assert "out of the project" in caught.value.sentence
    assert SECRET not in caught.value.render()


def test_issue9_a3_a_circle_of_links_ends(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(safe_files.UnusablePath, match="circular link"):
        safe_files.read(str(root), "a")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def _device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))


OTHERS: dict[str, Callable[[Path], None]] = {
    "FIFO": os.mkfifo,
    "socket": _socket,
    "directory": Path.mkdir,
    **({"device": _device} if os.geteuid() == 0 else {}),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_issue9_a3_only_regular_files_are_read(root: Path, kind: str) -> None:
    OTHERS[kind](root / "other")
    with pytest.raises(safe_files.UnusablePath, match=f"not a regular file but a {kind}"):
        safe_files.read(str(root), "other")


def test_issue9_a3_no_more_is_read_than_allowed(root: Path) -> None:
    with (root / "huge").open("wb") as out:
        out.truncate(1 << 40)
    with pytest.raises(safe_files.UnusablePath, match="1024 GiB of holes"):
        safe_files.read(str(root), "huge")
    with (root / "large").open("wb") as out:
        out.truncate(1 << 25)
    with pytest.raises(safe_files.UnusablePath, match="larger than 16 MiB"):
        safe_files.read(str(root), "large")


def test_issue9_a3_a_file_that_grows_ends_where_it_was_opened(root: Path) -> None:
    (root / "log").write_bytes(b"x" * 1000)
    with safe_files.open_regular(str(root), "log") as source, (root / "log").open("ab") as out:
        first = safe_files.compute_digest(source)
        out.write(b"y" * 1000)
        out.flush()
        source.seek(0)
        assert safe_files.compute_digest(source) != first  # it was asked again: of all 2000
    assert len(first) == 64


def test_issue9_a3_a_write_takes_the_place_of_a_link(root: Path) -> None:
    secret = root.parent / "outside/secret"
    (root / "report.xml").symlink_to(secret)
    safe_files.write(str(root), "report.xml", "new")
    assert secret.read_text() == SECRET
    assert not (root / "report.xml").is_symlink()
    assert (root / "report.xml").read_text() == "new"
    assert sorted(path.name for path in root.iterdir()) == ["file", "report.xml", "sub"]


def test_issue9_a3_a_write_follows_no_directory_link_out_of_the_project(root: Path) -> None:
    (root / "out").symlink_to(root.parent / "outside")
    for path in ("out/new", "out/deeper/new", "../outside/new"):
        with pytest.raises(HostError, match="out of the project"):
            safe_files.write(str(root), path, "new")
    assert [path.name for path in (root.parent / "outside").iterdir()] == ["secret"]


def test_a_write_makes_directories_and_leaves_nothing_when_it_fails(root: Path) -> None:
    safe_files.write(str(root), "a/b/c", "text", mode=0o600)
    assert stat.S_IMODE((root / "a/b/c").stat().st_mode) == 0o600
    with pytest.raises(ValueError, match="stop"), safe_files.open_replacement(str(root), "a/d"):
        raise ValueError("stop")
    assert [path.name for path in (root / "a").iterdir()] == ["b"]
    with pytest.raises(HostError):
        safe_files.write(str(root), "a/b", "over a directory")


@pytest.mark.skipif(os.geteuid() != 0, reason="writes for another user")
def test_root_writes_for_the_owner_of_the_project(root: Path) -> None:
    os.chown(root, 1000, 1001)
    safe_files.write(str(root), "new/file", "x")
    for path in ("new", "new/file"):
        facts = (root / path).stat()
        assert (facts.st_uid, facts.st_gid) == (1000, 1001)


def test_issue9_a3_a_directory_that_becomes_a_link_while_it_is_read_leads_nowhere(root: Path) -> None:
    """A container turns `way/` into a link and back as fast as it can."""
    (root / "way").mkdir()
    (root / "way/secret").write_text("inside")
    ended = threading.Event()

    def turn() -> None:
        while not ended.is_set():
            os.rename(root / "way", root / "kept")
            os.symlink(root.parent / "outside", root / "way")
            os.unlink(root / "way")
            os.rename(root / "kept", root / "way")

    turning = threading.Thread(target=turn)
    turning.start()
    seen = set()
    try:
        looks = 0
        while looks < 2000 or b"inside" not in seen:
            looks += 1
            try:
                seen.add(safe_files.read(str(root), "way/secret"))
            except OSError as error:
                seen.add(type(error).__name__.encode())
            found = [path for path, _ in safe_files.walk(str(root), "way")]
            assert set(found) <= {"way/secret", "way"}
    finally:
        ended.set()
        turning.join()
    assert seen <= {b"inside", b"UnusablePath", b"FileNotFoundError"}
    assert b"inside" in seen


def test_below_follows_no_link_and_has_an_end(root: Path) -> None:
    (root / "sub/all").symlink_to("/")
    (root / "sub/self").symlink_to(".")
    assert [path for path, _ in safe_files.walk(str(root))] == ["file", "sub/all", "sub/self"]
    assert list(safe_files.walk(str(root), "sub/all/etc")) == []
    deep = root
    for _ in range(200):
        deep /= "d"
        deep.mkdir()
    with pytest.raises(HostError, match="nested more than"):
        list(safe_files.walk(str(root)))


def test_issue9_a3_globs_lead_out_of_no_project(root: Path) -> None:
    (root / "in").mkdir()
    (root / "in/a.txt").write_text("a")
    (root / "in/link").symlink_to("/")
    (root / "in/same").symlink_to("a.txt")
    (root / "in/secret").symlink_to("../../outside/secret")
    found = files.digest_matching_files(str(root), ("in/**", "in/link/etc/*", "../outside/*"))
    assert sorted(found) == ["in/a.txt", "in/link", "in/same", "in/secret"]
    assert found["in/same"] == found["in/a.txt"]
    assert found["in/link"] == "link:/"
    assert not files.has_matching_path(str(root), "in/link/etc/*")
    assert not files.has_matching_path(str(root), "in/link/etc/passwd")
    assert files.has_matching_path(str(root), "in/*.txt")
    assert files.has_matching_path(str(root), "sub")


def test_a_file_named_by_the_user_belongs_to_the_project_around_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "devbox.toml").touch()
    (root / "sub/out").symlink_to(root.parent / "outside")
    monkeypatch.chdir(root / "sub")
    assert project.find_by_file("report.xml") == (str(root), "sub/report.xml")
    assert project.find_by_file("out/report.xml") == (str(root), "sub/out/report.xml")
    assert project.find_by_file("/dev/stderr") == ("", "/dev/stderr")
    assert project.find_by_file("../../outside/x")[0] == ""
    assert safe_files.find_relative_path(str(root), "out/../a") == "sub/a"
    assert safe_files.find_relative_path(str(root), "/dev/stderr") is None


def test_issue9_a3_reports_and_coverage_do_not_follow_links(root: Path) -> None:
    from support import matrices

    from devbox.reports import coverage, files

    (root / "devbox.toml").touch()
    secret = root.parent / "outside/secret"
    (root / "report.xml").symlink_to(secret)
    (root / "cov").mkdir()
    (root / "cov/.devbox-coverage.json").symlink_to(secret)
    (root / "elsewhere").symlink_to(root.parent / "outside")
    run = matrices.run()
    files.write(run, (str(root / "report.xml"),))
    coverage.collect(run, str(root / "cov"))
    for path in ("elsewhere/report.xml", "elsewhere/new/report.xml"):
        with pytest.raises(DevboxError, match="out of the project"):
            files.write(run, (str(root / path),))
    with pytest.raises(DevboxError, match="out of the project"):
        coverage.collect(run, str(root / "elsewhere"))
    assert secret.read_text() == SECRET
    assert [path.name for path in secret.parent.iterdir()] == ["secret"]


STEPS = '[[steps]]\nop = "bootstrap"\ndistribution = "debian"\nsuite = "trixie"\n'
PLACES = ("devbox.toml", "devbox.local.toml", "recipes/own.toml", "devbox.lock.toml", "x.env")


def _load(root: Path) -> None:
    from devbox.envfile.load import load
    from devbox.records import lockfile

    load(str(root))
    lockfile.read(lockfile.get_path(str(root), "devbox.toml"))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["link", "FIFO", "socket", "huge"])
def test_issue9_a3_what_a_file_is_made_from_is_a_file_of_the_project(root: Path, place: str, kind: str) -> None:
    (root / "recipes").mkdir()
    (root / "devbox.toml").write_text('[dev]\nrecipe = "own"\nenv_files = ["x.env"]\n')
    (root / "recipes/own.toml").write_text('description = "mine"\n' + STEPS)
    (root / "x.env").write_text("A=b\n")
    path = root / place
    path.unlink(missing_ok=True)
    if kind == "link":
        path.symlink_to(root.parent / "outside/secret")
    elif kind == "huge":
        with path.open("wb") as out:
            out.truncate(1 << 40)
    else:
        OTHERS[kind](path)
    with pytest.raises(DevboxError) as caught:
        _load(root)
    said = caught.value.render()
    assert os.path.basename(place).removesuffix(".toml") in said
    assert SECRET not in said
    assert len(said.splitlines()) <= 3


def test_issue9_a3_a_link_to_another_project_leads_out_of_this_one(tmp_path: Path) -> None:
    """A container makes a directory a link to one with an env file: what is written there is refused all the same."""
    for name in ("mine", "mine/part", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "devbox.toml").touch()
    (tmp_path / "mine/out").symlink_to(tmp_path / "other")
    (tmp_path / "mine/again").symlink_to("part")
    (tmp_path / "entry").symlink_to("mine")
    mine = str(tmp_path / "mine")
    assert project.find_by_file(f"{mine}/out/dev.tar") == (mine, "out/dev.tar")
    assert project.find_by_file(f"{mine}/again/dev.tar") == (mine, "again/dev.tar")
    assert project.find_by_file(f"{mine}/part/dev.tar") == (f"{mine}/part", "dev.tar")
    assert project.find_by_file(f"{tmp_path}/entry/dev.tar") == (mine, "dev.tar")
    with pytest.raises(HostError, match="link out of the project"), safe_files.open_replacement(mine, "out/dev.tar"):
        pass


def test_a_link_that_becomes_a_file_while_it_is_read_is_not_an_error(root: Path) -> None:
    (root / "link").symlink_to("file")
    facts = os.lstat(root / "link")
    (root / "link").unlink()
    os.mkfifo(root / "link")
    with safe_files.ProjectDirectory(str(root)) as opened:
        assert files._compute_digest(opened, "link", facts) == ""
        assert schedule._digest_content(opened, "link", facts, {}) == "special"
