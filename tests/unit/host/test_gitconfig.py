"""What of the caller's git configuration goes into a container, read back by git itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

from devbox.host import gitconfig

CALLERS = """
[user]
    name = Ann "the \\\\ cat" Example
    email = ann@example.org
    signingKey = ABCD
[pull]
    rebase
[alias]
    st = status --short
    danger = !sh -c true
[core]
    autocrlf = input
    sshCommand = ssh -i key
    pager = less
    hooksPath = hooks
[credential]
    helper = store
[commit]
    gpgSign = true
[diff "pdf"]
    textconv = pdftotext
[merge]
    conflictStyle = diff3
[http]
    extraHeader = Authorization: secret
[url "https://token@example.org/"]
    insteadOf = https://example.org/
[diff]
    orderFile = ~/order
"""


def _git(file: Path, *words: str) -> list[str]:
    done = subprocess.run(["git", "config", "--file", file, *words], capture_output=True, check=True)
    return done.stdout.decode().split("\0")[:-1]


def test_who_commits_and_how_goes_along_but_no_program_path_or_secret(tmp_path: Path) -> None:
    (tmp_path / "callers").write_text(CALLERS)
    listed = "\0".join([*_git(tmp_path / "callers", "--list", "-z"), ""])
    (tmp_path / "flat").write_text(gitconfig.flatten(listed, "/work space"))
    assert _git(tmp_path / "flat", "--list", "-z") == [
        "user.name\nAnn the \\ cat Example",
        "user.email\nann@example.org",
        "pull.rebase\ntrue",
        "alias.st\nstatus --short",
        "core.autocrlf\ninput",
        "merge.conflictstyle\ndiff3",
        "safe.directory\n/work space",
    ]
