"""Which tests a project has just now: what evidence about a release is bound to.

Nothing of it is read from DEVBOX_HOME, and nothing depends on the machine.
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


class ReleaseTests:
    """The tests against a release, as the file and the project have them now."""

    def __init__(self, opened: Project) -> None:
        """Read the file. Raises EnvFileError, and UsageError for a file without [test]."""
        self._opened = opened
        self._env, self._cells = cells.load_cells(opened, pinned=True)
        own = build_instance(opened, self._env.name)
        nobody = dict.fromkeys(list_credentials(self._env), "")
        tests = resolve_tests(self._env, instance=own, credentials=nobody).tests
        assert tests is not None  # noqa: S101 - `for_tests` raises without them
        self._tests = tests

    def list_excluded(self, written: Iterable[str] = ()) -> tuple[str, ...]:
        """Paths of the project that are none of the tests' files: the file and its lock, and what tests write.

        `written`: reports of the run, relative to the project; directories end with a slash.
        """
        lock = lockfile.get_path("", self._opened.env_file).lstrip("/")
        outputs = map(os.path.normpath, (*self._tests.junit, *self._tests.coverage))
        return tuple(sorted({self._opened.env_file, project.LOCAL_FILE, lock, *outputs, *written}))

    def compute_identity(self, but: Iterable[str]) -> TestsIdentity:
        """What the tests are, leaving out the files `but`. Every file is read again."""
        return TestsIdentity(
            table=ids.compute_key(_select_table(self._env)),
            files=ids.compute_key(_read_files(self._opened.root, self._tests, but)),
            matrix=ids.compute_key(codec.dump(list(self._cells))),
            cells=tuple(_list_names(self._cells)),
        )


def _list_names(found: Iterable[Cell]) -> Iterable[str]:
    return (cell.name for cell in found)


def _select_table(env: EnvFile) -> object:
    """What the file says that tests depend on; images are not part of it."""
    document = env.document
    plain = document.model_dump(mode="json", include={"vars", "test", "service"})
    tests = plain["test"]
    tests.pop("matrix", None)
    return plain if tests.get("needs") else {"vars": plain["vars"], "test": tests}


def _read_files(root: str, tests: Tests, but: Iterable[str]) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="devbox-") as place:  # no record of earlier looks counts
        return source_tree.read(root, tests.input_globs, but=but, record=f"{place}/files.json")
