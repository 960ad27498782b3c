"""File changes in batches, and which changes are ignored."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devbox.commands import watch


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Callable[[], frozenset[str]]]:
    """The next batch of changes in `app`, after the watch has started."""
    (tmp_path / "app").mkdir()
    found: queue.Queue[frozenset[str]] = queue.Queue()
    done = threading.Event()

    def look() -> None:
        for batch in watch.watch_batches(str(tmp_path), ["app", "absent"]):
            if done.is_set():
                return
            found.put(batch)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    begun = False
    while not begun:
        (tmp_path / "app/begin").write_text("")
        with contextlib.suppress(queue.Empty):
            begun = bool(found.get(timeout=0.1))
    yield lambda: found.get(timeout=20)
    done.set()
    (tmp_path / "app/end").write_text("")
    looking.join(20)
    assert not looking.is_alive()


def test_many_files_at_once_are_one_batch(seen: Callable[[], frozenset[str]], tmp_path: Path):
    desired = {f"app/f{number}" for number in range(200)}
    for name in desired:
        (tmp_path / name).write_text("x")
    got: set[str] = set()
    batches = 0
    while not desired <= got:
        got |= seen()
        batches += 1
    assert batches < 20, "not one for each file"


def test_what_editors_and_git_write_next_to_the_files_is_left_out(seen: Callable[[], frozenset[str]], tmp_path: Path):
    (tmp_path / "app/.git").mkdir()
    for name in (".git/index", ".main.py.swp", "main.py~", "main.pyc"):
        (tmp_path / "app" / name).write_text("x")
    (tmp_path / "app/main.py").write_text("x")
    got: frozenset[str] = frozenset()
    while "app/main.py" not in got:
        got |= seen()
    assert got <= {"app/main.py", "app/begin"}


def test_a_file_that_appears_is_noticed(seen: Callable[[], frozenset[str]], tmp_path: Path):
    (tmp_path / "absent").write_text("x")
    while "absent" not in seen():
        pass


@pytest.mark.parametrize("name", ["app/sub", os.fsdecode(b"app/\xff")])
def test_a_renamed_or_new_directory_is_watched(seen: Callable[[], frozenset[str]], tmp_path: Path, name: str):
    (tmp_path / "app/first").mkdir()
    (tmp_path / "app/first/a.py").write_text("x")
    while "app/first/a.py" not in seen():
        pass
    (tmp_path / "app/first").rename(tmp_path / name)
    while f"{name}/a.py" not in seen():
        pass
    (tmp_path / "app/first").mkdir()
    (tmp_path / "app/first/b.py").write_text("x")
    while "app/first/b.py" not in seen():
        pass


def test_a_directory_that_is_replaced_is_watched(seen: Callable[[], frozenset[str]], tmp_path: Path):
    for number in range(3):
        shutil.rmtree(tmp_path / "app")
        (tmp_path / "app").mkdir()
        (tmp_path / f"app/{number}.py").write_text("x")
        while f"app/{number}.py" not in seen():
            pass


def test_a_file_that_editors_replace_is_watched(seen: Callable[[], frozenset[str]], tmp_path: Path):
    for number in range(2):
        (tmp_path / "absent.new").write_text(f"{number}")
        (tmp_path / "absent.new").rename(tmp_path / "absent")
        while "absent" not in seen():
            pass
        time.sleep(0.2)  # the first change has its own batch


@pytest.mark.parametrize("name", [b"app/\xff.py", b"app/a\nb\x1b[31m.py"])
def test_odd_names_are_changes_too(seen: Callable[[], frozenset[str]], tmp_path: Path, name: bytes):
    for _ in range(2):
        with open(os.fsencode(tmp_path) + b"/" + name, "ab") as out:
            out.write(b"x")
        while os.fsdecode(name) not in seen():
            pass


def test_what_git_ignores_does_not_count(tmp_path: Path):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "sub").mkdir()
    (tmp_path / ".gitignore").write_text("*.log\n")
    (tmp_path / "sub/.gitignore").write_text("made\n")
    paths = {"a.py", "x.log", "sub/made", "made", "with\nnewline.log"}
    assert watch.exclude_ignored(str(tmp_path), paths) == {"a.py", "made"}


def test_without_a_repository_everything_counts(tmp_path: Path):
    assert watch.exclude_ignored(str(tmp_path), {"x.log"}) == {"x.log"}
    assert watch.exclude_ignored(str(tmp_path), ()) == frozenset()


def test_issue9_a3_what_links_lead_to_is_not_watched(tmp_path: Path) -> None:
    (tmp_path / "out/deep").mkdir(parents=True)
    root = tmp_path / "root"
    (root / "app").mkdir(parents=True)
    (root / "app/link").symlink_to(tmp_path / "out")
    found = watch._list_watched(str(root), {""}, frozenset())
    assert found == {"", "app"}
    assert watch._list_watched(str(root), {"app/link"}, frozenset()) == frozenset()


def test_files_of_a_new_directory_are_noticed(seen: Callable[[], frozenset[str]], tmp_path: Path) -> None:
    desired = {f"app/new/{number}/deeper/file" for number in range(20)}
    for name in desired:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("x")
    got: set[str] = set()
    while not desired <= got:
        got |= seen()
    (tmp_path / "app/new/3/deeper/later").write_text("x")
    while "app/new/3/deeper/later" not in got:
        got |= seen()
