"""Plans: values between planning and execution."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from devbox.model.frozen import dataclass


class Op(StrEnum):
    """Operation of a plan's step. The values are printed, and stored in records of runs."""

    BAKE = "bake"
    BUILD = "build"
    NETWORK = "network"
    COPY = "copy"
    START = "start"
    REPLACE = "replace"
    SETUP = "setup"
    READY = "ready"
    HOOK = "hook"
    STOP = "stop"
    REMOVE = "remove"
    TEARDOWN = "teardown"
    # of volumes
    SAVE = "save"
    RESTORE = "restore"
    # of a stage's releases
    ADMIT = "admit"
    SWITCH = "switch"
    VERIFY = "verify"
    DRAIN = "drain"
    FINISH = "finish"
    RETIRE = "retire"
    RELOAD = "reload"
    # reactions to changed files, and tasks
    REBUILD = "rebuild"
    TASK = "task"
    RESTART = "restart"
    SIGNAL = "signal"
    # transfers of images
    PULL = "pull"
    PUSH = "push"
    IMPORT = "import"
    EXPORT = "export"


class Backend(str):
    """Container on a side of a stage's router, printed as SIDE/CONTAINER: the resource of `admit`."""

    __slots__ = ("container", "side")

    side: str
    container: str

    def __new__(cls, side: str, container: str) -> Self:
        """Return the backend of a container on a side."""
        value = super().__new__(cls, f"{side}/{container}")
        value.side, value.container = side, container
        return value

    def __deepcopy__(self, _memo: object) -> Self:
        """Return the same, which cannot change: `dataclasses.asdict` copies deeply."""
        return self


class ReasonKind(StrEnum):
    """Kind of a step's reason. ROUTINE: a missing resource or a request, which adds nothing once the step is done."""

    CHANGE = "change"
    ROUTINE = "routine"


class Reason(str):
    """Reason of a step: its text, for users, with the kind that code tests. A plain string is a CHANGE."""

    __slots__ = ("kind",)

    kind: ReasonKind

    def __new__(cls, kind: ReasonKind, text: str) -> Self:
        """Return a reason of a kind."""
        value = super().__new__(cls, text)
        value.kind = kind
        return value

    def __deepcopy__(self, _memo: object) -> Self:
        """Return the same, which cannot change: `dataclasses.asdict` copies deeply."""
        return self

    @classmethod
    def routine(cls, text: str) -> Self:
        """Return a reason that adds nothing once the step is done."""
        return cls(ReasonKind.ROUTINE, text)


def is_routine(reason: str) -> bool:
    """True if a reason adds no information once its step is done."""
    return isinstance(reason, Reason) and reason.kind is ReasonKind.ROUTINE


@dataclass(frozen=True, kw_only=True)
class Step:
    """One action. `resource` is the object of `op`, `reason` an explanation for users.

    `after` contains the ids of steps that must succeed before this one starts.
    """

    op: Op
    resource: str  # Backend for `admit`
    reason: str
    after: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Unique id in the plan."""
        return f"{self.op} {self.resource}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Steps in topological order. Empty: a no-op."""

    steps: tuple[Step, ...]

    def __bool__(self) -> bool:
        return bool(self.steps)


PASS, FAIL, PENDING = "pass", "fail", "pending"  # of gates; everything except a pass denies


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A judgement about a subject, with its reason. `opens_at`: earliest automatic change, RFC 3339 UTC.

    For a gate: `evidence` is the digest of the examined data, `expires_at` its end of validity, `output` its output, at
    most 4 KiB without secrets.
    """

    subject: str
    verdict: str
    reason: str
    opens_at: str | None = None
    evidence: str = ""
    expires_at: str | None = None
    output: str = ""
