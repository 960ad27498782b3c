"""What the tests said about a release, and which tests these were."""

from __future__ import annotations

from dataclasses import field

from devbox.frozen import dataclass
from devbox.model import codec, ids


@dataclass(frozen=True, kw_only=True)
class TestsIdentity:
    """The tests of a project, the same on every machine. `cells`: the names of all cells of the matrix.

    `table` is the digest of what the file says of tests, variables and the services they need, `files` that of the
    files they depend on, `matrix` that of the cells.
    """

    __test__ = False  # no class of tests, whatever pytest makes of its name

    table: str
    files: str
    matrix: str
    cells: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TestEvidence:
    """One run of the tests against one image. `digest` is the image index's; `cells`: name → how it ended.

    `but`: paths of the project that are none of the tests' files, as the env file and reports.
    """

    __test__ = False  # no class of tests, whatever pytest makes of its name

    digest: str
    passed: bool
    at: str  # RFC 3339 UTC: when it ended
    tests: TestsIdentity
    cells: dict[str, str] = field(default_factory=dict)
    release: str = ""  # its id
    run: str = ""  # the id of the run
    but: tuple[str, ...] = ()

    @property
    def evidence(self) -> str:
        """The digest of all this."""
        return ids.key_of(codec.dump(self))

    def differs(self, now: TestsIdentity) -> str:
        """What of the tests is another today, for a sentence; "" for nothing."""
        parts = {"the matrix": "matrix", "what the file says of the tests": "table", "files of the tests": "files"}
        changed = [what for what, name in parts.items() if getattr(self.tests, name) != getattr(now, name)]
        return " and ".join(changed)
