"""Repositories read without git: the same result as git's, and no program is run that a repository names."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import subprocess
from pathlib import Path

import pytest

from devbox.host import revision
from devbox.host.repository import files, layout, objects

GIT = ("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
FORMATS = ("sha1", "sha256")


def run(root: Path, *words: str) -> str:
    done = subprocess.run([*GIT, "-C", str(root), *words], check=True, capture_output=True)
    return os.fsdecode(done.stdout).strip("\n")


def commit(root: Path, message: str = "one") -> str:
    run(root, "add", "-A")
    run(root, "commit", "-qm", message, "--allow-empty")
    return run(root, "rev-parse", "HEAD")


def new(path: Path, *, form: str = "sha1") -> Path:
    path.mkdir(parents=True)
    run(path, "init", "-q", "-b", "main", f"--object-format={form}")
    return path


def by_git(root: Path) -> list[str]:
    listed = run(root, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    return sorted({name for name in listed.split("\0") if name})


def tree_by_git(root: Path) -> dict[str, objects.TreeEntry]:
    lines = run(root, "ls-tree", "-r", "-z", "HEAD").split("\0")
    entries = [line.partition("\t") for line in lines if line]
    return {path: objects.TreeEntry(int(head.split()[0], 8), head.split()[2]) for head, _, path in entries}


def tree_by_us(root: Path) -> dict[str, objects.TreeEntry]:
    found = layout.find_repository(str(root))
    assert found is not None
    with objects.Objects(found.common) as store:
        return store.list_files(layout.read_head(found) or "")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("packed", ["loose", "packed", "deltas", "by name"])
def test_a_commit_has_the_files_that_git_lists(tmp_path: Path, form: str, packed: str) -> None:
    root, dice = new(tmp_path / "r", form=form), random.Random(packed)
    for number in range(12):
        for name in ("a", "b/c d", "b/é/f", f"many/{number}", "b/e/g"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(dice.randbytes(200))
        commit(root, str(number))
    (root / "link").symlink_to("/etc/passwd")
    (root / "a").chmod(0o755)
    (root / os.fsdecode(b"not \xff text")).touch()
    commit(root)
    if packed != "loose":
        run(root, "repack", "-adfq", "--depth=50", "--window=50")
        run(root, "pack-refs", "--all")
    if packed == "by name":  # deltas that name what they build on, as they come over the network
        pack = next((root / ".git/objects/pack").glob("*.pack"))
        subprocess.run(
            f"git rev-list --objects --all | cut -d' ' -f1 | git pack-objects --stdout --no-reuse-delta > {pack}.new",
            shell=True,
            check=True,
            cwd=root,
        )
        for each in (root / ".git/objects/pack").glob("pack-*.*"):
            if not each.name.endswith(".new"):
                each.unlink()
        run(root, "index-pack", f"{pack}.new", "-o", f"{pack.with_suffix('.idx')}")
        os.rename(f"{pack}.new", pack)
    assert tree_by_us(root) == tree_by_git(root)
    assert revision.compute_revision(str(root), {}) == f"git:{run(root, 'rev-parse', 'HEAD')}"


PARTS = ("a", "b", "ab", "a.o", "b.o", "dir", "Ab", "x y", "[z]", "#n", "!m", "é")
PATTERNS = (
    *(
        "*.o",
        "/a",
        "a/",
        "dir/*",
        "!a.o",
        "**/b",
        "a/**",
        "a/**/b",
        "b/*/a",
        "[ab]",
        "[!a]",
        "[^b].o",
        "?",
        "\\#n",
        "\\!m",
    ),
    *("*", "!*/", "a*", "**", "/**", "x\\ y", "x y ", "[[]z]", "dir", "!dir/", "/dir/a", "é", "[[:upper:]]b", "[a-b]b"),
    *("#comment", "", "/", "a//b", "b\\", "[", "[a", "**a", "a**b", "*b*", "!/dir/b", "dir/**/", "[]-a]", "[!]a-]"),
)


@pytest.mark.parametrize("seed", range(40))
def test_files_are_listed_as_git_lists_them(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    root = new(tmp_path / "r")
    for _ in range(60):
        path = root.joinpath(*dice.choices(PARTS, k=dice.randint(1, 4)))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError:  # a file is there where a directory would be, or the other way round
            continue
    places = [root, *(path for path in sorted(root.rglob("*")) if path.is_dir() and ".git" not in path.parts)]
    for place in dice.sample(places, min(len(places), 4)):
        text = "\n".join(dice.choices(PATTERNS, k=dice.randint(1, 5)))
        (place / ".gitignore").write_text(text + dice.choice(("", "\n", "\r\n")))
    (root / ".git/info/exclude").write_text("\n".join(dice.choices(PATTERNS, k=2)))
    if seed % 3:
        tracked = [str(path) for path in sorted(root.rglob("*.o")) if path.is_file()]
        run(root, "add", "-f", "--", *tracked, ".gitignore" if (root / ".gitignore").exists() else ".git/../.")
        run(root, "update-index", f"--index-version={dice.choice((2, 4))}")
    assert revision.list_files(str(root)) == by_git(root)
    for place in places[1:3]:
        assert (revision.list_files(str(place)) or []) == by_git(place)


def test_a_repository_that_ignores_the_project_is_not_its_own(tmp_path: Path) -> None:
    root = new(tmp_path / "home")
    (root / ".gitignore").write_text("*\n")
    (root / "project").mkdir()
    (root / "project/a").touch()
    commit(root)
    assert revision.list_files(str(root / "project")) is None
    assert revision.compute_revision(str(root / "project"), {"a": "b"}).startswith("files:")


def test_the_caller_s_own_patterns_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    root = new(tmp_path / "r")
    for name in ("a~", "b"):
        (root / name).touch()
    (tmp_path / ".config/git").mkdir(parents=True)
    (tmp_path / ".config/git/ignore").write_text("*~\n")
    assert revision.list_files(str(root)) == by_git(root) == ["b"]
    (tmp_path / "mine").write_text("b\n")
    (tmp_path / ".gitconfig").write_text("[core]\nexcludesFile = ~/mine\n")
    assert revision.list_files(str(root)) == by_git(root) == ["a~"]


def test_matching_takes_no_longer_than_pattern_and_name_are_long() -> None:
    pattern, name = "*a" * 500 + "b", "a" * 5000
    assert not files.match_name(pattern, name)
    assert not files.match_parts(["**", "a"] * 200 + ["b"], ["a"] * 1000)


@pytest.mark.parametrize("packed", [False, True])
def test_branches_are_those_that_git_has(tmp_path: Path, *, packed: bool) -> None:
    root = new(tmp_path / "r")
    assert layout.find_branch(str(root)) == "main"
    assert layout.list_branches(str(root)) == ("main",)
    commit(root)
    for name in ("feature/one", "feature/two", "é"):
        run(root, "branch", name)
    if packed:
        run(root, "pack-refs", "--all")
        run(root, "branch", "late")
    run(root, "checkout", "-q", "feature/two")
    assert layout.find_branch(str(root)) == "feature/two"
    assert sorted(layout.list_branches(str(root)) or ()) == sorted(
        run(root, "for-each-ref", "--format=%(refname:short)", "refs/heads").split("\n")
    )
    run(root, "checkout", "-q", "--detach")
    assert layout.find_branch(str(root)) is None
    assert revision.compute_revision(str(root), {}) == f"git:{run(root, 'rev-parse', 'HEAD')}"


def test_a_directory_of_a_repository_is_judged_by_itself(tmp_path: Path) -> None:
    root = new(tmp_path / "r")
    for name in ("here/a", "there/a"):
        (root / name).parent.mkdir()
        (root / name).touch()
    head = commit(root)
    (root / "there/a").write_text("changed")
    assert revision.compute_revision(str(root / "here"), {}) == f"git:{head}"
    assert revision.compute_revision(str(root / "there"), {}).startswith(f"git:{head}-dirty.")
    assert revision.list_files(str(root / "here")) == ["a"]


def test_linked_worktrees_and_submodules_are_read(tmp_path: Path) -> None:
    inner = new(tmp_path / "inner")
    (inner / "a").touch()
    first = commit(inner)
    root = new(tmp_path / "r")
    run(root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "sub")
    head = commit(root)
    run(root, "worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"))
    linked = tmp_path / "linked"
    assert layout.find_branch(str(linked)) == "other"
    assert [revision.compute_revision(str(each), {}) for each in (root, linked)] == [f"git:{head}"] * 2
    assert revision.compute_revision(str(root / "sub"), {}) == f"git:{first}"
    (root / "sub/a").write_text("changed")
    assert revision.compute_revision(str(root), {}).startswith(f"git:{head}-dirty.")
    assert revision.compute_revision(str(linked), {}) == f"git:{head}"


def test_staging_changes_no_file(tmp_path: Path) -> None:
    root = new(tmp_path / "r")
    commit(root)
    (root / "a").write_text("a")
    before = revision.compute_revision(str(root), {})
    run(root, "add", "-A")
    assert revision.compute_revision(str(root), {}) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_root_reads_a_repository_of_another_user(tmp_path: Path) -> None:
    root = new(tmp_path / "r")
    (root / "a").touch()
    head = commit(root)
    for path in (root, *root.rglob("*")):
        os.chown(path, 1000, 1000)
    assert revision.compute_revision(str(root), {}) == f"git:{head}"
    os.chown(root / ".git", 1001, 1001)
    assert revision.compute_revision(str(root), {}).startswith("files:")


CONFIG = """
[core]
    fsmonitor = {run}
    hooksPath = {hooks}
    sshCommand = {run}
    gitProxy = {run}
    attributesFile = {attributes}
    excludesFile = {hooks}/post-index-change
    pager = {run}
    editor = {run}
    worktree = /
[extensions]
    partialClone = origin
[remote "origin"]
    url = ext::{run}
    promisor = true
    partialclonefilter = blob:none
    uploadpack = {run}
[filter "p"]
    clean = {run}
    smudge = {run}
    process = {run}
    required = true
[diff "p"]
    textconv = {run}
    command = {run}
[diff]
    external = {run}
[merge "p"]
    driver = {run}
[credential]
    helper = !{run}
[include]
    path = {included}
[gpg]
    program = {run}
[alias]
    rev-parse = !{run}
    config = !{run}
"""


def test_issue9_a1_nothing_that_a_repository_names_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, hostile, ran = new(tmp_path / "r"), tmp_path / "hostile", tmp_path / "ran"
    (root / "a").write_text("a")
    (root / "sub").mkdir()
    new(root / "sub/inner")
    (root / "sub/inner/b").touch()
    commit(root / "sub/inner")
    commit(root)
    (hostile / "hooks").mkdir(parents=True)
    script = hostile / "run"
    script.write_text(f'#!/bin/sh\necho "$0 $@" >> {ran}\ncat\n')
    script.chmod(0o755)
    (hostile / "hooks/post-index-change").symlink_to(script)
    (hostile / "hooks/fsmonitor-watchman").symlink_to(script)
    (hostile / "attributes").write_text("* filter=p diff=p merge=p\n")
    (hostile / "included").write_text(f"[core]\nfsmonitor = {script}\n")
    text = CONFIG.format(
        run=script, hooks=hostile / "hooks", attributes=hostile / "attributes", included=hostile / "included"
    )
    for place in (root, root / "sub/inner"):
        (place / ".git/config").write_text(text)
        (place / ".git/info/attributes").write_text("* filter=p diff=p merge=p\n")
        (place / ".gitattributes").write_text("* filter=p diff=p merge=p\n")
        (place / ".git/objects/info/alternates").write_text("/root\n")
    (root / "a").write_text("b")
    programs = tmp_path / "bin"
    programs.mkdir()
    shim = programs / "git"  # reports every call of git, and its directory
    shim.write_text(f'#!/bin/sh\ncase "$*" in "--git-dir=/dev/null -C / config "*) ;; *) echo "$@" >> {ran};; esac\n')
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.chdir(root)
    assert "-dirty." in revision.compute_revision(str(root), {})
    assert "a" in (revision.list_files(str(root)) or ())
    assert layout.find_branch(str(root)) == "main"
    assert layout.list_branches(str(root)) == ("main",)
    assert not ran.exists()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize("make", [_fifo, _socket, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()])
@pytest.mark.parametrize(
    "name", ["HEAD", "index", "packed-refs", "refs/heads/main", "info/exclude", "objects/pack", "../.gitignore", "."]
)
def test_issue9_a1_what_is_no_file_in_a_repository_is_not_waited_for(tmp_path: Path, name: str, make) -> None:  # type: ignore[no-untyped-def]
    root = new(tmp_path / "r")
    commit(root)
    path = root / ".git" / name if name != "." else root / ".git"
    if path.exists():
        path.rename(tmp_path / "gone")
    make(path)
    layout.find_branch(str(root))
    layout.list_branches(str(root))
    revision.list_files(str(root))
    revision.compute_revision(str(root), {"a": "b"})


def test_issue9_a1_links_lead_to_no_other_repository(tmp_path: Path) -> None:
    root, other = new(tmp_path / "r"), new(tmp_path / "other")
    (other / "secret name").touch()
    head = commit(other)
    (root / ".git").rename(tmp_path / "gone")
    for way in ("link", "file", "parts"):
        if way == "link":
            (root / ".git").symlink_to(other / ".git")
        elif way == "file":
            (root / ".git").unlink()
            (root / ".git").write_text(f"gitdir: {other}/.git\n")
        else:
            (root / ".git").unlink()
            (root / ".git").mkdir()
            for part in ("HEAD", "objects", "refs", "index"):
                (root / ".git" / part).symlink_to(other / ".git" / part)
        assert head not in revision.compute_revision(str(root), {})
        assert layout.find_branch(str(root)) is None
        assert "secret name" not in (revision.list_files(str(root)) or ())


def test_issue9_a1_an_object_is_what_its_name_says(tmp_path: Path) -> None:
    """A tree whose file says another, and a delta that makes more than it says, are not believed."""
    root = new(tmp_path / "r")
    (root / "a").write_text("a")
    commit(root)
    tree = run(root, "rev-parse", "HEAD^{tree}")
    (root / "b").write_text("b")
    run(root, "add", "-A")
    other = run(root, "write-tree")
    place = root / ".git/objects" / tree[:2] / tree[2:]
    place.unlink()
    place.write_bytes((root / ".git/objects" / other[:2] / other[2:]).read_bytes())
    assert revision.compute_revision(str(root), {"x": "y"}).startswith("files:")


def test_issue9_a1_a_tree_that_multiplies_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_MOST_ENTRIES", 100_000)  # a twentieth of the limit takes a twentieth of the time
    root = new(tmp_path / "r")
    blob = hashlib.sha1(b"blob 0\0").hexdigest()
    run(root, "hash-object", "-w", "/dev/null")
    listed = "".join(f"100644 blob {blob}\tf{number}\n" for number in range(100))
    for level in range(6):
        done = subprocess.run(["git", "-C", root, "mktree"], input=listed, text=True, check=True, capture_output=True)
        tree = done.stdout.strip()
        listed = "".join(f"040000 tree {tree}\td{level}-{number}\n" for number in range(100))
    made = run(root, "commit-tree", tree, "-m", "bomb")
    run(root, "update-ref", "HEAD", made)
    assert revision.compute_revision(str(root), {"x": "y"}).startswith("files:")
