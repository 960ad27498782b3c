"""The input of a gate. Each kind of gate is one module in this package and a line in `table.py`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import field

from devbox.host.paths import Paths
from devbox.images.image_store import ImageStore
from devbox.model.frozen import dataclass
from devbox.model.ledger import TestsIdentity
from devbox.model.release import Release
from devbox.model.spec import HostAccess, Instance
from devbox.model.stage import Stage
from devbox.promotion.history import History


@dataclass(frozen=True, kw_only=True)
class SoakObservation:
    """For how long (seconds) a run of a release in a stage was seen healthy, and whether it is just now.

    `elsewhere`: it runs on another machine, which says so.
    """

    seconds: float = 0.0
    healthy: bool = False
    elsewhere: bool = False


@dataclass(frozen=True, kw_only=True)
class GateContext:
    """All that a gate may look at, which changes nothing by looking.

    `policy`: the digest of what the stage asks, which approvals are bound to. `approvers`, `builders`: name → file of
    the public key, below the instance's root. `store` and `paths` lead to what is attached to the image, and records.
    `trusted`: what the stages want of this machine was allowed, so that commands may be run; `allowed`: what that is.
    `deployment`: what would be deployed, by its parts (`promotion.coverage`). `tests`: the identity of the project's
    tests just now, without the given paths of the project. `observed`: for how long a stage was
    seen healthy with a release.
    """

    release: Release
    stage: Stage
    policy: str
    history: History
    now: dt.datetime  # with its zone
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
    """A time of a record, RFC 3339."""
    return dt.datetime.fromisoformat(at)


def format_timestamp(at: dt.datetime) -> str:
    """A time as records have it."""
    return at.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def format_time(at: str) -> str:
    """A time of a record in a sentence: to the second, in UTC."""
    return f"{parse_time(at).astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def compute_expiry(at: str, seconds: float | None) -> str | None:
    """Until when evidence of that time counts; None for ever."""
    return None if seconds is None else format_timestamp(parse_time(at) + dt.timedelta(seconds=seconds))
