"""Identity of a project's current tests, to which evidence about a release is bound.

Independent of the host and of DEVBOX_HOME.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable

from devbox.envfile.expand import list_credentials, resolve_tests
from devbox.envfile.load import EnvFile
from devbox.execute import source_tree
from devbox.host import project
from devbox.matrix import cells
from devbox.model import codec, ids
from devbox.model.ledger import TestsIdentity
from devbox.model.matrix import Cell, Tests
from devbox.project import Project, build_instance
from devbox.records import lockfile
from devbox.roles.catalog import ROLES


class ReleaseTests:
    """Current tests against a release, from the file and the project."""

    def __init__(self, opened: Project) -> None:
        """Load the file. Raises EnvFileError, and UsageError for a file without [test]."""
        self._opened = opened
        self._env, self._cells = cells.load_cells(opened, pinned=True)
        own = build_instance(opened, self._env.name)
        nobody = dict.fromkeys(list_credentials(self._env), "")
        tests = resolve_tests(self._env, instance=own, credentials=nobody).tests
        assert tests is not None  # noqa: S101 - `resolve_tests` raises without them
        self._tests = tests

    def list_excluded(self, written: Iterable[str] = ()) -> tuple[str, ...]:
        """Return project paths that are not test files: the env file, its lockfile, and outputs of tests.

        `written`: reports of the run, relative to the project; directories end with a slash.
        """
        lock = lockfile.get_path("", self._opened.env_file).lstrip("/")
        outputs = map(os.path.normpath, (*self._tests.junit, *self._tests.coverage))
        return tuple(sorted({self._opened.env_file, project.LOCAL_FILE, lock, *outputs, *written}))

    def compute_identity(self, but: Iterable[str]) -> TestsIdentity:
        """Return the identity of the tests without the files `but`. Reads every file again."""
        return TestsIdentity(
            table=ids.compute_key(_select_table(self._env)),
            files=ids.compute_key(_read_files(self._opened.root, self._tests, but)),
            matrix=ids.compute_key(codec.dump(list(self._cells))),
            cells=tuple(_list_names(self._cells)),
        )


def _list_names(found: Iterable[Cell]) -> Iterable[str]:
    return (cell.name for cell in found)


def _select_table(env: EnvFile) -> object:
    """Return the tables that tests depend on, without images."""
    document = env.document
    tested = {role.name for role in ROLES if role.tested}
    plain = document.model_dump(mode="json", include={"vars", "test", *tested})
    tests = plain["test"]
    tests.pop("matrix", None)
    return plain if tests.get("needs") else {"vars": plain["vars"], "test": tests}


def _read_files(root: str, tests: Tests, but: Iterable[str]) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="devbox-") as place:  # bypass all digest caches
        return source_tree.read(root, tests.input_globs, but=but, record=f"{place}/files.json")
