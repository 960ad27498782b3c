"""The part of the caller's git configuration that a container gets, read back by git itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from devbox.host import git

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
OWN = ["safe.directory\n/work space", "gc.worktreepruneexpire\nnever"]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJXV9Pz0"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A caller's home directory without any configuration."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return tmp_path


def inside(home: Path, *, root: Path | None = None, signs: bool = True) -> list[str]:
    """The configuration that git in a container reads, from the output of git on the host."""
    text = git.flatten(git.read_caller_settings(str(root or home)), "/work space", signs=signs)
    (home / "flat").write_bytes(text.encode(errors="surrogateescape"))
    read = ["git", "config", "--file", home / "flat", "--list", "-z"]
    nobody = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    done = subprocess.run(read, capture_output=True, check=True, cwd="/", env=nobody)
    return os.fsdecode(done.stdout).split("\0")[:-1]


def test_containers_get_the_committer_s_identity_but_no_program_path_or_secret(home: Path) -> None:
    (home / ".gitconfig").write_text(CALLERS)
    assert inside(home) == [
        "user.name\nAnn the \\ cat Example",
        "user.email\nann@example.org",
        "pull.rebase\ntrue",
        "alias.st\nstatus --short",
        "core.autocrlf\ninput",
        "merge.conflictstyle\ndiff3",
        *OWN,
    ]


def test_without_a_configuration_only_the_project_is_reported(home: Path) -> None:
    assert inside(home) == OWN


def test_both_files_of_the_caller_count_and_none_of_the_project(home: Path) -> None:
    (home / "xdg/git").mkdir(parents=True)
    (home / "xdg/git/config").write_text("[user]\nname = Ann\nemail = old@example.org\n")
    (home / ".gitconfig").write_text("[user]\nemail = new@example.org\n")
    subprocess.run(["git", "init", "-q", home / "shop"], check=True)
    subprocess.run(["git", "-C", home / "shop", "config", "user.name", "Mallory"], check=True)
    found = inside(home, root=home / "shop")
    assert found == ["user.name\nAnn", "user.email\nold@example.org", "user.email\nnew@example.org", *OWN]


def test_what_it_includes_counts_where_its_condition_holds(home: Path) -> None:
    (home / ".gitconfig").write_text(
        '[include]\npath = always\n[includeIf "gitdir:~/work/"]\npath = at-work\n[include]\npath = missing\n'
    )
    (home / "always").write_text("[user]\nname = Ann\nemail = ann@home.example\n")
    (home / "at-work").write_text("[user]\nemail = ann@work.example\n")
    for place in ("work/shop", "shop"):
        subprocess.run(["git", "init", "-q", home / place], check=True)
    assert "user.email\nann@work.example" in inside(home, root=home / "work/shop")
    assert "user.email\nann@work.example" not in inside(home, root=home / "shop")


@pytest.mark.parametrize(
    "name",
    [
        'x"\n[credential]\n\thelper = store\n[a "',
        "x\n[credential]\n\thelper = !evil\n",
        'back\\slash \\n \\" quote',
        "tab\there; semi # hash",
        "  spaces around  ",
        "Änn 猫",
        "latin-1 \udce4",
        "carriage\rreturn\r\n",
    ],
)
def test_a_value_stays_one_value_whatever_is_in_it(home: Path, name: str) -> None:
    (home / ".gitconfig").write_text("")
    subprocess.run(["git", "config", "--global", "user.name", os.fsencode(name)], check=True)
    told = subprocess.run(["git", "config", "--global", "-z", "user.name"], capture_output=True, check=True).stdout
    assert inside(home) == [f"user.name\n{os.fsdecode(told[:-1])}", *OWN]


def test_a_configuration_that_git_refuses_is_as_none(home: Path) -> None:
    (home / ".gitconfig").write_text("[user\nname = Ann\n")
    assert inside(home) == OWN


def _signing(home: Path, key: str, kind: str = "ssh") -> None:
    how = f'[gpg]\nformat = {kind}\n[commit]\ngpgSign = true\n[gpg "{kind}"]\nprogram = evil\n'
    (home / ".gitconfig").write_text(f"{how}[user]\nsigningKey = {key}\n")


@pytest.mark.parametrize("named", ["~/id.pub", "~/id", f"key::{KEY} ann", f"{KEY} ann"])
def test_a_signing_key_is_identified_by_its_public_key_whatever_its_name(home: Path, named: str) -> None:
    (home / "id").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n-----END OPENSSH PRIVATE KEY-----\n")
    (home / "id.pub").write_text(f"{KEY} ann@example.org\n")
    _signing(home, f'"{named}"')
    signing = ["gpg.format\nssh", f"user.signingkey\nkey::{KEY}", "commit.gpgsign\ntrue"]
    assert inside(home) == [*signing, *OWN]
    assert inside(home, signs=False) == OWN


@pytest.mark.parametrize("named", ["~/id", "~/other", "/etc/passwd", "ABCD", "ssh-agent: all"])
def test_without_a_public_half_commits_are_not_signed(home: Path, named: str) -> None:
    (home / "id").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n-----END OPENSSH PRIVATE KEY-----\n")
    _signing(home, f'"{named}"')
    assert inside(home) == OWN


def test_signatures_of_openpgp_stay_outside(home: Path) -> None:
    _signing(home, KEY, kind="openpgp")
    assert inside(home) == OWN
