"""Events of a running plan. Displays consume events; the runner never prints."""

from __future__ import annotations

from collections.abc import Callable

from devbox.model.frozen import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.gray.summary import GraySummary


@dataclass(frozen=True, kw_only=True)
class PlanMade:
    """The plan before its first step. `steps` are (id, op, resource, reason)."""

    steps: tuple[tuple[str, str, str, str], ...]


@dataclass(frozen=True, kw_only=True)
class StepStarted:
    """Start of a step."""

    id: str
    op: str
    resource: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class StepProgress:
    """Progress of a step: current activity, sizes in bytes, `fraction` from 0 to 1; None if unknown."""

    id: str
    text: str
    fraction: float | None = None
    done: int | None = None
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class StepLine:
    """One line of output of a step's program."""

    id: str
    text: str


@dataclass(frozen=True, kw_only=True)
class StepEnded:
    """End of a step: `outcome` is "done", "failed" or "skipped"; `text` a short result."""

    id: str
    op: str
    resource: str
    reason: str
    outcome: str
    seconds: float
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Note:
    """A message for the user: a warning, an address, an adopted container."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Lent:
    """The terminal is lent to a program until `Returned`: nothing is drawn. `text` is the reason, or empty."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Returned:
    """The terminal belongs to the display again."""


@dataclass(frozen=True, kw_only=True)
class Looked:
    """An observation of a gray release; `changed`: the phase or step is new."""

    glance: GraySummary
    changed: bool = False


Event = PlanMade | StepStarted | StepProgress | StepLine | StepEnded | Note | Lent | Returned | Looked
Sink = Callable[[Event], None]
