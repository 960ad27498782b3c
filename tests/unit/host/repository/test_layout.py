"""Which host directory is mounted for a worktree's `.git` file: git's own repository, or none."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from devbox.host.repository.layout import WorktreeRepository, find_worktree

ME = os.geteuid()


@pytest.fixture
def main(tmp_path: Path) -> Path:
    """A repository with a worktree `fix` next to it, made by git."""
    path = tmp_path / "main"
    _git(tmp_path, "init", "-q", "main")
    _git(path, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "--allow-empty", "-m", "one")
    _git(path, "worktree", "add", "-q", "../fix")
    return path


@pytest.fixture
def fix(main: Path) -> Path:
    return main.parent / "fix"


def _git(where: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=where, check=True, capture_output=True)


def test_a_worktree_has_its_repository_at_the_same_path(main: Path, fix: Path) -> None:
    common = f"{main}/.git"
    assert find_worktree(str(fix), "/workspace", owner=ME) == WorktreeRepository(
        common, common, f"{common}/worktrees/fix/gitdir"
    )


def test_a_relative_one_where_the_relative_path_leads(main: Path, fix: Path) -> None:
    (fix / ".git").write_text("gitdir: ../main/.git/worktrees/fix\n")
    found = find_worktree(str(fix), "/srv/workspace", owner=ME)
    assert found == WorktreeRepository(f"{main}/.git", "/srv/main/.git", "/srv/main/.git/worktrees/fix/gitdir")


def test_other_projects_have_none(main: Path, tmp_path: Path) -> None:
    assert find_worktree(str(main), "/workspace", owner=ME) is None
    assert find_worktree(str(tmp_path), "/workspace", owner=ME) is None


def _other_backlink(main: Path, fix: Path) -> None:
    (main / ".git/worktrees/fix/gitdir").write_text(f"{main}/.git\n")


def _link_on_the_way(main: Path, fix: Path) -> None:
    (fix.parent / "by").symlink_to(main)
    (fix / ".git").write_text(f"gitdir: {fix.parent}/by/.git/worktrees/fix\n")


def _somewhere_else(main: Path, fix: Path) -> None:
    (fix / ".git").write_text("gitdir: /etc/worktrees/fix\n")


def _the_root(main: Path, fix: Path) -> None:
    (fix / ".git").write_text("gitdir: /worktrees/fix\n")


def _two_lines(main: Path, fix: Path) -> None:
    (fix / ".git").write_text(f"gitdir: {main}/.git/worktrees/fix\n\n/etc\n")


def _git_file_is_a_link(main: Path, fix: Path) -> None:
    (fix / ".git").rename(fix / "git")
    (fix / ".git").symlink_to("git")


def _a_fifo(main: Path, fix: Path) -> None:
    (fix / ".git").unlink()
    os.mkfifo(fix / ".git")


def _not_text(main: Path, fix: Path) -> None:
    (fix / ".git").write_bytes(b"gitdir: \xff\xfe/worktrees/x")


def _a_nul(main: Path, fix: Path) -> None:
    (fix / ".git").write_bytes(b"gitdir: /a\0b/worktrees/x\n")


def _within_the_project(main: Path, fix: Path) -> None:
    admin = fix / "own/worktrees/fix"
    admin.mkdir(parents=True)
    (admin / "commondir").write_text("../..\n")
    (admin / "gitdir").write_text(f"{fix}/.git\n")
    (fix / ".git").write_text(f"gitdir: {admin}\n")


def _another_common_dir(main: Path, fix: Path) -> None:
    (main / ".git/worktrees/fix/commondir").write_text("/etc\n")


@pytest.mark.parametrize(
    "lie",
    [
        _other_backlink,
        _link_on_the_way,
        _somewhere_else,
        _the_root,
        _two_lines,
        _git_file_is_a_link,
        _a_fifo,
        _not_text,
        _a_nul,
        _within_the_project,
        _another_common_dir,
    ],
    ids=lambda lie: lie.__name__,
)
def test_a_claim_that_does_not_hold_gets_nothing(main: Path, fix: Path, lie: Callable[[Path, Path], None]) -> None:
    assert find_worktree(str(fix), "/workspace", owner=ME) is not None
    lie(main, fix)
    assert find_worktree(str(fix), "/workspace", owner=ME) is None


def test_a_repository_of_another_user_is_not_mounted(fix: Path) -> None:
    assert find_worktree(str(fix), "/workspace", owner=ME + 1) is None


def test_nothing_of_the_container_is_hidden(main: Path, fix: Path) -> None:
    assert find_worktree(str(fix), f"{main}/.git/x", owner=ME) is None
    assert find_worktree(str(fix), str(main), owner=ME) is None
