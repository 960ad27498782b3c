"""A row of the ledger: what was meant to happen to a release, what happened, what people said about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from devbox.model import codec, ids
from devbox.model.frozen import dataclass

# What moves a release into a stage: intent → copied → running → applied; failed ends it anywhere before applied.
INTENT, COPIED, RUNNING, APPLIED, FAILED = "intent", "copied", "running", "applied", "failed"
# What is said about a release.
APPROVED, REVOKED = "approved", "revoked"
DOWN = "down"  # the stage was stopped by hand; it is not healthy until it is promoted to again
DRIFTED = "drifted"  # a container that runs something else than what was deployed, and gets no traffic
SEEN = "seen"  # that it came to run in a stage elsewhere, by a signed record; `body["at"]` says when
TESTED = "tested"  # a run of the tests against an image; `body["run"]` is a TestEvidence
REBUILT = "rebuilt"  # what stood before was given up; signed records alone tell of that time

GENESIS = "sha256:" + "0" * 64  # what stands before the first entry


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One entry. `body` is plain JSON, by kind; `previous` the hash of the entry before it.

    `attempt` tells the tries of one release at one stage apart, from 1; 0 where nothing is tried.
    """

    seq: int  # from 1, without a gap
    at: str  # RFC 3339 UTC
    kind: str
    release: str  # its id, or "" for what is about no release
    stage: str
    attempt: int
    body: Mapping[str, Any]
    previous: str
    hash: str

    def compute_hash(self) -> str:
        """The hash that it must have."""
        plain = codec.dump(self)
        del plain["hash"]
        return ids.compute_key(plain)


@dataclass(frozen=True, kw_only=True)
class LedgerHead:
    """The last entry of a ledger, as it is signed and published. `seq` 0: nothing happened yet."""

    seq: int = 0
    hash: str = GENESIS
    at: str = ""


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
        return ids.compute_key(codec.dump(self))

    def describe_difference(self, now: TestsIdentity) -> str:
        """What of the tests is another today, for a sentence; "" for nothing."""
        parts = {"the matrix": "matrix", "what the file says of the tests": "table", "files of the tests": "files"}
        changed = [what for what, name in parts.items() if getattr(self.tests, name) != getattr(now, name)]
        return " and ".join(changed)
