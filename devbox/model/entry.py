"""A row of the ledger: what was meant to happen to a release, what happened, what people said about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from devbox.frozen import dataclass
from devbox.model import codec, ids

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
class Entry:
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

    def computed(self) -> str:
        """The hash that it must have."""
        plain = codec.dump(self)
        del plain["hash"]
        return ids.key_of(plain)


@dataclass(frozen=True, kw_only=True)
class Head:
    """The last entry of a ledger, as it is signed and published. `seq` 0: nothing happened yet."""

    seq: int = 0
    hash: str = GENESIS
    at: str = ""
