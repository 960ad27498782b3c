"""docs/how-to/worktrees.md: git works in the container of a linked worktree, with no more access to the host."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support.machine import Box

pytestmark = pytest.mark.scenario

DEV = '[dev]\nrecipe = "debian"\n'
WITH_GIT = '[dev]\nrecipe = "debian"\npackages = ["git", "openssh-client"]\n'
ANN = ["-c", "user.name=Ann", "-c", "user.email=a@example.org"]


def git(box: Box, where: Path, *words: str) -> str:
    """Git's output on the host for the box's user."""
    start = [] if box.user is None else ["setpriv", "--reuid", box.user, "--regid", box.user, "--init-groups"]
    env = box.environment({"GIT_CONFIG_GLOBAL": "/dev/null"})
    done = subprocess.run([*start, "git", *ANN, *words], cwd=where, env=env, capture_output=True, check=True)
    return done.stdout.decode().strip()


def worktree(box: Box, text: str) -> tuple[Path, Path]:
    """A repository with this env file, and its worktree of the branch `fix`."""
    main = box.project(text, name="shop")
    git(box, main, "init", "-q")
    git(box, main, "add", "devbox.toml")
    git(box, main, "commit", "-q", "-m", "one")
    git(box, main, "worktree", "add", "-q", "../shop-fix")
    box.adopt(main.parent / "shop-fix")
    return main, main.parent / "shop-fix"


def test_the_repository_of_a_worktree_is_there_and_its_owners(any_box: Box):
    main, fix = worktree(any_box, DEV)
    any_box.ok("up", cwd=fix)
    look = f"cd {main}/.git && cat HEAD worktrees/shop-fix/gitdir && mkdir hooks/made-inside"
    assert any_box.ok("exec", "--", "sh", "-c", look, cwd=fix).splitlines()[1] == "/workspace/.git"
    assert (main / ".git/hooks/made-inside").stat().st_uid == main.stat().st_uid
    assert (main / ".git/worktrees/shop-fix/gitdir").read_text() == f"{fix}/.git\n"
    assert any_box.run("exec", "--", "ls", main / "devbox.toml", cwd=fix).returncode != 0
    (fix / "devbox.toml").write_text(f'{DEV}isolation = "isolated"\n')
    any_box.ok("up", cwd=fix)
    assert any_box.run("exec", "--", "ls", main, cwd=fix).returncode != 0


def test_a_git_file_that_lies_mounts_nothing(box: Box):
    project = box.project(DEV)
    prey = project.parent / "prey"
    (prey / "worktrees/x").mkdir(parents=True)
    (prey / "secret").write_text("secret")
    (prey / "worktrees/x/commondir").write_text("../..\n")
    (prey / "worktrees/x/gitdir").write_text(f"{project.parent}/other/.git\n")
    (project / ".git").write_text(f"gitdir: {prey}/worktrees/x\n")
    box.ok("up", cwd=project)
    assert box.run("exec", "--", "ls", prey, cwd=project).returncode != 0


@pytest.mark.long  # bakes git
def test_git_works_in_it_as_on_this_host(any_box: Box):
    main, fix = worktree(any_box, WITH_GIT)
    caller = {"GIT_CONFIG_GLOBAL": str(main / "callers")}
    (main / "callers").write_text("[user]\nname = Ann\nemail = a@example.org\n")
    any_box.ok("up", cwd=fix, env=caller)

    def inside(*words: str) -> str:
        return any_box.ok("exec", "--", "git", *words, cwd=fix, env=caller).strip()

    assert inside("status", "--short", "--branch", "-uno") == "## shop-fix"
    any_box.ok("exec", "--", "sh", "-c", "echo new > new", cwd=fix)
    inside("add", "new")
    inside("commit", "-q", "-m", "two")
    aged = main / ".git/worktrees/shop-fix/gitdir"
    any_box.ok("exec", "--", "sh", "-c", f"touch -d '2 days ago' {aged}", cwd=fix)
    assert inside("status", "--short", "-uno") == ""
    inside("gc", "-q", "--prune=now")
    assert git(any_box, main, "log", "--format=%an %s", "shop-fix").splitlines() == ["Ann two", "Ann one"]
    assert git(any_box, main, "worktree", "list", "--porcelain").count(f"worktree {fix}\n") == 1
    assert git(any_box, fix, "status", "--short", "-uno") == ""
    assert not [path for path in (main / ".git").rglob("*") if path.lstat().st_uid != main.stat().st_uid]
