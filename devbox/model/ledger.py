"""Ledger entries: intended and completed promotions, and statements about releases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from devbox.model import codec, ids
from devbox.model.frozen import dataclass

# Promotion of a release into a stage: intent → copied → running → applied; failed ends it anywhere before applied.
INTENT, COPIED, RUNNING, APPLIED, FAILED = "intent", "copied", "running", "applied", "failed"
# Statements about a release.
APPROVED, REVOKED = "approved", "revoked"
DOWN = "down"  # the stage was stopped manually; it is not healthy until the next promotion to it
DRIFTED = "drifted"  # a container runs something else than the deployment, and gets no traffic
SEEN = "seen"  # it ran in a stage on another host, by a signed record; `body["at"]` is the time
TESTED = "tested"  # a test run against an image; `body["run"]` is a TestEvidence
REBUILT = "rebuilt"  # the earlier ledger was discarded; only signed records cover that time

GENESIS = "sha256:" + "0" * 64  # the hash before the first entry


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One entry. `body` is plain JSON, by kind; `previous` the hash of the entry before it.

    `attempt` numbers the attempts of one release at one stage, from 1; 0 for other kinds.
    """

    seq: int  # from 1, consecutive
    at: str  # RFC 3339 UTC
    kind: str
    release: str  # its id, or "" if not about a release
    stage: str
    attempt: int
    body: Mapping[str, Any]
    previous: str
    hash: str

    def compute_hash(self) -> str:
        """Return the expected hash of the entry."""
        plain = codec.dump(self)
        del plain["hash"]
        return ids.compute_key(plain)


@dataclass(frozen=True, kw_only=True)
class LedgerHead:
    """The last entry of a ledger, as signed and published. `seq` 0: an empty ledger."""

    seq: int = 0
    hash: str = GENESIS
    at: str = ""


@dataclass(frozen=True, kw_only=True)
class TestsIdentity:
    """The identity of a project's tests, equal on all machines. `cells`: the names of all cells of the matrix.

    Digests: `table` of the file's test settings, variables and required services, `files` of the files that the tests
    depend on, `matrix` of the cells.
    """

    __test__ = False  # not a test class for pytest

    table: str
    files: str
    matrix: str
    cells: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TestEvidence:
    """One test run against one image. `digest` is the image index's; `cells`: name → final state.

    `but`: project paths that do not belong to the tests' files, such as the env file and reports.
    """

    __test__ = False  # not a test class for pytest

    digest: str
    passed: bool
    at: str  # RFC 3339 UTC: end of the run
    tests: TestsIdentity
    cells: dict[str, str] = field(default_factory=dict)
    release: str = ""  # its id
    run: str = ""  # the id of the run
    but: tuple[str, ...] = ()

    @property
    def evidence(self) -> str:
        """The digest of this evidence."""
        return ids.compute_key(codec.dump(self))

    def describe_difference(self, now: TestsIdentity) -> str:
        """Return the differences of the tests today as a phrase; "" for none."""
        parts = {"the matrix": "matrix", "the test settings": "table", "the test files": "files"}
        changed = [what for what, name in parts.items() if getattr(self.tests, name) != getattr(now, name)]
        return " and ".join(changed)
