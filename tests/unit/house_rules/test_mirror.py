"""`tests/unit/` mirrors `devbox/`: a test of devbox/A/B.py is in tests/unit/A/test_B.py."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest
from unit.house_rules.source import ROOT, imports

TESTS = ROOT / "tests"
# Tests that are not of one module: of the source itself, and of the tests' own helpers.
CROSS_CUTTING = {"house_rules", "helpers"}
# Packages that are tested through another one: a role's tables and their expansion, from the text of an env file.
CALLER = {"devbox.roles": "devbox.envfile"}


def _list_directories(root: Path) -> list[Path]:
    """The directories of unit tests, relative to `tests/unit`, without the cross-cutting ones."""
    unit = root / "tests/unit"
    found = {path.parent.relative_to(unit) for path in unit.rglob("*.py")}
    return sorted(path for path in found if not CROSS_CUTTING & set(path.parts[:1]))


def _list_foreign_directories(root: Path) -> list[str]:
    return [str(path) for path in _list_directories(root) if not (root / "devbox" / path).is_dir()]


def _list_tests(root: Path) -> list[Path]:
    return sorted(path for each in _list_directories(root) for path in (root / "tests/unit" / each).glob("test_*.py"))


def _list_misnamed(root: Path) -> list[str]:
    """Tests whose names do not begin with that of a module or package in the same place of `devbox/`."""
    wrong = []
    for path in _list_tests(root):
        place = root / "devbox" / path.parent.relative_to(root / "tests/unit")
        modules = [each.stem for each in place.iterdir() if each.suffix == ".py" or each.is_dir()]
        if not any(path.stem == f"test_{each}" or path.stem.startswith(f"test_{each}_") for each in modules):
            wrong.append(str(path.relative_to(root)))
    return wrong


def _collect_imports(root: Path, path: Path) -> set[str]:
    """What a test imports: its own file, its conftest.py files, and the helpers that one of these imports."""
    unit = root / "tests/unit"
    places = [each for each in path.parents if each.is_relative_to(unit)]
    files = [path, *(each / "conftest.py" for each in places if (each / "conftest.py").exists())]
    seen: set[str] = set()
    while files:
        new = imports(files.pop()) - seen
        seen |= new
        files += [each for name in new if (each := root / "tests" / f"{name.replace('.', '/')}.py").exists()]
    return seen


def _list_unrelated(root: Path) -> list[str]:
    """Tests that import nothing of the package in the same place of `devbox/`."""
    wrong = []
    for path in _list_tests(root):
        package = ".".join(("devbox", *path.parent.relative_to(root / "tests/unit").parts))
        packages = {package, CALLER.get(package, package)}
        if not any(f"{name}.".startswith(f"{each}.") for name in _collect_imports(root, path) for each in packages):
            wrong.append(str(path.relative_to(root)))
    return wrong


def test_each_directory_of_unit_tests_is_one_of_the_package():
    assert not _list_foreign_directories(ROOT), "move the tests to the directory of the module that they test"


def test_each_unit_test_is_named_after_a_module():
    assert not _list_misnamed(ROOT), "test_MODULE.py or test_MODULE_TOPIC.py"


def test_each_unit_test_imports_its_package():
    assert not _list_unrelated(ROOT), "move the test to the directory of the module that it tests"


def test_each_unit_test_is_collected(request: pytest.FixtureRequest):
    """By default, pytest does not enter directories that are called `build` or `dist`."""
    skipped = request.config.getini("norecursedirs")
    directories = _list_directories(ROOT)
    assert not [
        str(path) for path in directories if any(fnmatch(part, each) for part in path.parts for each in skipped)
    ]


@pytest.mark.parametrize(
    ("name", "text", "rule"),
    [
        ("routing/test_router.py", "import devbox.deploy.router", _list_foreign_directories),
        ("deploy/test_course.py", "import devbox.deploy.router", _list_misnamed),
        ("deploy/test_routerfiles.py", "import devbox.deploy.router", _list_misnamed),
        ("deploy/test_router.py", "import devbox.plan.diff", _list_unrelated),
        ("deploy/test_router.py", "import support.builders", _list_unrelated),
    ],
)
def test_the_rules_find_an_offender(tmp_path: Path, name: str, text: str, rule):
    for file, content in {f"tests/unit/{name}": text, "devbox/deploy/router.py": ""}.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(content)
    assert rule(tmp_path)


def test_a_test_in_its_place_is_no_offender(tmp_path: Path):
    files = {
        "devbox/deploy/router.py": "",
        "tests/unit/deploy/test_router.py": "import support.routers",
        "tests/unit/helpers/test_anything.py": "",
        "tests/support/routers.py": "from devbox.deploy import router",
    }
    for file, content in files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(content)
    assert not [*_list_foreign_directories(tmp_path), *_list_misnamed(tmp_path), *_list_unrelated(tmp_path)]
