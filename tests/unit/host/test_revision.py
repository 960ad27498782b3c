"""The revision that a release was built from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from devbox.host.revision import compute_revision

GIT = ("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")


def git(root: Path, *words: str) -> str:
    done = subprocess.run([*GIT, "-C", str(root), *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q")
    (root / "a").write_text("a")
    (root / ".gitignore").write_text("ignored\n")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "one")
    return root


def test_a_clean_checkout_is_its_commit(repository: Path):
    head = git(repository, "rev-parse", "HEAD")
    (repository / "ignored").write_text("x")
    (repository / "lock").write_text("x")
    assert compute_revision(str(repository), {}, but=("lock",)) == f"git:{head}"


def test_every_difference_is_another_revision(repository: Path):
    found = [compute_revision(str(repository), {})]
    (repository / "a").write_text("b")
    found.append(compute_revision(str(repository), {}))
    (repository / "new").write_text("1")
    found.append(compute_revision(str(repository), {}))
    (repository / "new").write_text("2")
    found.append(compute_revision(str(repository), {}))
    assert len(set(found)) == len(found)
    assert all("-dirty." in each for each in found[1:])
    assert compute_revision(str(repository), {}) == found[-1]


def test_what_the_repository_configures_is_not_run(repository: Path):
    trace = repository.parent / "ran"
    script = repository.parent / "script"
    script.write_text(f"#!/bin/sh\ntouch {trace}\n")
    script.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(script))
    git(repository, "config", "diff.external", str(script))
    (repository / "a").write_text("b")
    compute_revision(str(repository), {})
    assert not trace.exists()


def test_without_git_the_inputs_tell(tmp_path: Path):
    (tmp_path / "a").write_text("a")
    one, two = compute_revision(str(tmp_path), {"a": "file:1"}), compute_revision(str(tmp_path), {"a": "file:2"})
    assert one.startswith("files:sha256:")
    assert one != two
