"""Build inputs: exactly the declared files, by content; links lead nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from devbox.errors import BakeFailed, EnvFileError
from devbox.images.build import inputs


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    for path, text in {"src/a.py": "a", "src/deep/b.py": "b", "src/c.txt": "c", "tool": "t", "other/d": "d"}.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "tool").chmod(0o700)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("s")
    (root / "src/link").symlink_to(tmp_path / "outside")
    return root


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["src/**"], {"src/a.py", "src/c.txt", "src/deep/b.py", "src/link"}),
        (["src"], {"src/a.py", "src/c.txt", "src/deep/b.py", "src/link"}),
        (["src/*.py", "tool"], {"src/a.py", "tool"}),
        (["**/*.py"], {"src/a.py", "src/deep/b.py"}),
        (["./tool"], {"tool"}),
        (["*/d"], {"other/d"}),
        (["."], {"src/a.py", "src/c.txt", "src/deep/b.py", "src/link", "tool", "other/d"}),
    ],
)
def test_patterns_name_files_and_links(project: Path, patterns: list[str], found: set[str]):
    assert set(inputs.read_inputs(str(project), patterns)) == found


def test_what_counts_is_content_and_whether_it_can_be_run(project: Path):
    before = inputs.read_inputs(str(project), ["."])
    os.utime(project / "tool", (1, 1))
    (project / "tool").chmod(0o755)
    assert inputs.read_inputs(str(project), ["."]) == before
    (project / "tool").chmod(0o644)
    after = inputs.read_inputs(str(project), ["."])
    assert {path for path in before if before[path] != after[path]} == {"tool"}


def test_a_missing_file_is_reported_with_its_place(project: Path):
    with pytest.raises(EnvFileError, match=r"nothing\.txt") as caught:
        inputs.read_inputs(str(project), ["nothing.txt"], where="devbox.toml:3")
    assert caught.value.where == "devbox.toml:3"
    assert inputs.read_inputs(str(project), ["nothing/*"]) == {}


def test_a_copy_holds_the_declared_and_no_more(project: Path, tmp_path: Path):
    target = tmp_path / "copy"
    inputs.copy_inputs(str(project), inputs.read_inputs(str(project), ["src/**", "tool"]), str(target))
    assert inputs.read_inputs(str(target), ["."]) == inputs.read_inputs(str(project), ["src/**", "tool"])
    assert (target / "src/link").is_symlink()
    assert (target / "tool").stat().st_mode & 0o777 == 0o755
    assert {int(path.lstat().st_mtime) for path in target.rglob("*.py")} == {1735689600}


def test_an_edit_meanwhile_is_noticed(project: Path, tmp_path: Path):
    read = inputs.read_inputs(str(project), ["src/**"])
    (project / "src/a.py").write_text("changed")
    with pytest.raises(BakeFailed, match=r"src/a\.py changed"):
        inputs.copy_inputs(str(project), read, str(tmp_path / "copy"))
