"""Which record of grants applies to a file: other files of an isolated project, cells, stages."""

from __future__ import annotations

from pathlib import Path

import pytest

from devbox.commands import images
from devbox.commands.trust import accept_grants
from devbox.errors import NotTrusted
from devbox.execute.grant_checks import check_grants, check_release_grants
from devbox.matrix import cells
from devbox.model.container import Grant
from devbox.plan import grants
from devbox.project import Project, open_project, prepare
from devbox.records.trust import GrantRecord

ISOLATED = '[dev]\nrecipe = "debian"\nisolation = "isolated"\n'
OPEN = '[dev]\nrecipe = "debian"\n'


RECIPE = """
description = "Own"
[[steps]]
op = "bootstrap"
distribution = "debian"
suite = "trixie"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that ran isolated."""
    monkeypatch.setenv("DEVBOX_HOME", str(tmp_path / "home"))
    path = tmp_path / "app"
    path.mkdir()
    (path / "devbox.toml").write_text(ISOLATED)
    run(opened(path))
    return path


def opened(path: Path, file: str = "devbox.toml") -> Project:
    return open_project(str(path), file=str(path / file))


def run(project: Project) -> None:
    """Check grants as each command does that starts containers."""
    check_grants(project, prepare(project))


@pytest.mark.parametrize("name", ["src/devbox.toml", "other.toml"])
def test_issue9_a2_another_file_in_a_project_that_ran_isolated_has_to_be_allowed(project: Path, name: str):
    path = project / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(OPEN)
    planted = opened(path.parent, path.name)
    with pytest.raises(NotTrusted, match="grants dev more"):
        run(planted)
    accept_grants(planted, prepare(planted))
    run(planted)


def test_a_file_of_another_directory_is_not_affected(project: Path):
    beside = project.with_name("application")
    beside.mkdir()
    (beside / "devbox.toml").write_text(OPEN)
    run(opened(beside))


def test_issue9_a2_an_own_recipe_that_was_changed_has_to_be_allowed(project: Path):
    (project / "recipes").mkdir()
    recipe = project / "recipes/own.toml"
    recipe.write_text(RECIPE)
    (project / "devbox.toml").write_text(ISOLATED.replace("debian", "own"))
    accept_grants(opened(project), prepare(opened(project)))
    run(opened(project))
    recipe.write_text(RECIPE.replace("Own", "Changed"))
    with pytest.raises(NotTrusted, match=r"grants recipes/own\.toml more"):
        run(opened(project))


def test_issue9_a2_lock_builds_nothing_that_was_not_allowed(project: Path):
    (project / "devbox.toml").write_text(ISOLATED + 'run = ["evil"]\n')
    with pytest.raises(NotTrusted, match="grants image dev more"):
        images.lock(opened(project), lambda _event: None)


def test_issue9_a2_a_cell_grants_no_more_than_was_allowed(project: Path):
    text = ISOLATED + '[test]\nfrom = "dev"\ncommand = "true"\nisolation = { preset = "isolated", network = "none" }\n'
    (project / "devbox.toml").write_text(text)
    accept_grants(opened(project), prepare(opened(project)))
    axis = '[test.matrix]\nnet = ["none", "project"]\n'
    (project / "devbox.toml").write_text(text.replace('network = "none"', 'network = "${net}"') + axis)
    run(opened(project))  # as a whole it grants nothing new
    desired = _cells(opened(project))
    cells.check_access(opened(project), [desired["net=none"]])
    with pytest.raises(NotTrusted, match="grants test more"):
        cells.check_access(opened(project), [desired["net=project"]])
    accept_grants(opened(project), prepare(opened(project)))
    run(opened(project))
    cells.check_access(opened(project), desired.values())


def _cells(project: Project) -> dict[str, cells.DesiredCell]:
    found, _ = cells.read(project, *cells.load_cells(project))
    return {one.cell.name: one for one in found}


STAGED = 'stages = ["production"]\n' + ISOLATED.replace("[dev]", "[base.app]").replace('isolation = "isolated"\n', "")
STAGED += '[image]\nfrom = "app"\n[stage.production]\n' + ISOLATED


@pytest.mark.parametrize("record", ["deleted", "put back"])
def test_issue10_2_a_file_that_grants_more_is_not_promoted_whatever_lies_below_the_home(project: Path, record: str):
    """An isolated container wrote the file, and another process the record of accepted grants."""
    file = project / "devbox.toml"
    file.write_text(STAGED)
    accept_grants(opened(project), prepare(opened(project)))
    check_release_grants(opened(project), prepare(opened(project)))
    file.write_text(STAGED.replace('isolation = "isolated"\n', ""))
    kept = Path(opened(project).paths.grants(opened(project).id))
    if record == "deleted":
        kept.unlink()
    else:
        GrantRecord(opened(project).paths, opened(project).id).write(_everything(project))
    run(opened(project))
    with pytest.raises(NotTrusted, match="grants dev more"):
        check_release_grants(opened(project), prepare(opened(project)))
    accept_grants(opened(project), prepare(opened(project)))
    check_release_grants(opened(project), prepare(opened(project)))


def _everything(project: Path) -> tuple[Grant, ...]:
    return grants.list_grants(prepare(opened(project)))


def test_issue10_2_the_first_promotion_of_a_file_that_ran_isolated_keeps_what_it_grants(project: Path):
    check_release_grants(opened(project), prepare(opened(project)))
    (project / "devbox.toml").write_text(OPEN)
    with pytest.raises(NotTrusted, match="grants dev more"):
        check_release_grants(opened(project), prepare(opened(project)))


def test_issue10_2_a_file_that_never_ran_isolated_is_promoted_without_a_record(tmp_path: Path, project: Path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "devbox.toml").write_text(OPEN)
    check_release_grants(opened(other), prepare(opened(other)))
    assert GrantRecord(opened(other).paths, opened(other).id, for_releases=True).read() is None
