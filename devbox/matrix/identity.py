"""Which tests a project has just now: what evidence about a release is bound to.

Nothing of it is read from DEVBOX_HOME, and nothing depends on the machine.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable

from devbox.envfile.load import EnvFile
from devbox.envfile.resolve import credentials_wanted, for_tests
from devbox.execute import sourcetree
from devbox.host import project
from devbox.matrix import cells
from devbox.model import codec, ids
from devbox.model.evidence import TestsIdentity
from devbox.model.matrix import Cell, Tests
from devbox.opened import Project, instance
from devbox.records import lockfile


class ReleaseTests:
    """The tests against a release, as the file and the project have them now."""

    def __init__(self, opened: Project) -> None:
        """Read the file. Raises EnvFileError, and UsageError for a file without [test]."""
        self._opened = opened
        self._env, self._cells = cells.every(opened, pinned=True)
        own = instance(opened, self._env.name)
        nobody = dict.fromkeys(credentials_wanted(self._env), "")
        tests = for_tests(self._env, instance=own, credentials=nobody).tests
        assert tests is not None  # noqa: S101 - `for_tests` raises without them
        self._tests = tests

    def excluded(self, written: Iterable[str] = ()) -> tuple[str, ...]:
        """Paths of the project that are none of the tests' files: the file and its lock, and what tests write.

        `written`: reports of the run, relative to the project; directories end with a slash.
        """
        lock = lockfile.path("", self._opened.env_file).lstrip("/")
        outputs = map(os.path.normpath, (*self._tests.junit, *self._tests.coverage))
        return tuple(sorted({self._opened.env_file, project.LOCAL_FILE, lock, *outputs, *written}))

    def identity(self, but: Iterable[str]) -> TestsIdentity:
        """What the tests are, leaving out the files `but`. Every file is read again."""
        return TestsIdentity(
            table=ids.key_of(_table(self._env)),
            files=ids.key_of(_files(self._opened.root, self._tests, but)),
            matrix=ids.key_of(codec.dump(list(self._cells))),
            cells=tuple(_names(self._cells)),
        )


def _names(found: Iterable[Cell]) -> Iterable[str]:
    return (cell.name for cell in found)


def _table(env: EnvFile) -> object:
    """What the file says that tests depend on; images are not part of it."""
    document = env.document
    plain = document.model_dump(mode="json", include={"vars", "test", "service"})
    tests = plain["test"]
    tests.pop("matrix", None)
    return plain if tests.get("needs") else {"vars": plain["vars"], "test": tests}


def _files(root: str, tests: Tests, but: Iterable[str]) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="devbox-") as place:  # no record of earlier looks counts
        return sourcetree.read(root, tests.counted, but=but, record=f"{place}/files.json")
