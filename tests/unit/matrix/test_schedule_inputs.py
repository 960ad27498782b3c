"""Files that devbox writes itself are not inputs of tests."""

from pathlib import Path

from devbox.matrix import schedule


def test_what_devbox_writes_itself_is_no_input(tmp_path: Path):
    project = tmp_path / "project"
    for name in ("app.py", "junit.xml", "cov/.coverage.a", "coverage.py", ".coverage.b", "sub/.coverage.b"):
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    but = ("junit.xml", "cov/", ".cover*.?")
    found = schedule.read_source_files(str(project), (), but=but, record=str(tmp_path / "record.json"))
    assert sorted(found) == ["app.py", "coverage.py", "sub/.coverage.b"]
