"""Input of gates. Each kind of gate is one module of this package and one line in `model.gate_kinds`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import field

from devbox.host.paths import Paths
from devbox.images.image_store import ImageStore
from devbox.model.frozen import dataclass
from devbox.model.host_access import HostAccess
from devbox.model.ledger import TestsIdentity
from devbox.model.release import Release
from devbox.model.spec import Instance
from devbox.model.stage import Stage
from devbox.promotion.history import History


@dataclass(frozen=True, kw_only=True)
class SoakObservation:
    """Seconds that a run of a release in a stage was observed healthy, and whether it is healthy now.

    `remote`: the run is on another host, which reports it.
    """

    seconds: float = 0.0
    healthy: bool = False
    remote: bool = False


@dataclass(frozen=True, kw_only=True)
class GateContext:
    """Read-only input of a gate.

    `policy`: digest of the stage's requirements, to which approvals are bound. `approvers`, `builders`: name → public
    key file below the instance's root. `store` and `paths`: for attachments and records. `trusted`: the stages' host
    access is allowed, so that commands may run; `allowed`: that access. `deployment`: parts of the deployment
    (`promotion.approval_scope`). `tests`: current identity of the tests without the given project paths. `observed`:
    observed health of a stage with a release.
    """

    release: Release
    stage: Stage
    policy: str
    history: History
    now: dt.datetime  # with a time zone
    instance: Instance
    approvers: Mapping[str, str]
    paths: Paths
    store: ImageStore
    trusted: bool = False
    allowed: tuple[HostAccess, ...] = ()
    builders: Mapping[str, str] = field(default_factory=dict)
    deployment: Mapping[str, str]
    observed: Callable[[str, str], SoakObservation]
    tests: Callable[[tuple[str, ...]], TestsIdentity]


def parse_time(at: str) -> dt.datetime:
    """Parse a time of a record, RFC 3339."""
    return dt.datetime.fromisoformat(at)


def format_timestamp(at: dt.datetime) -> str:
    """Format a time for records."""
    return at.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def format_time(at: str) -> str:
    """Format a record's time for sentences: to the second, in UTC."""
    return f"{parse_time(at).astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def compute_expiry(at: str, seconds: float | None) -> str | None:
    """Return the expiry of evidence of that time; None for never."""
    return None if seconds is None else format_timestamp(parse_time(at) + dt.timedelta(seconds=seconds))
