"""What a running plan tells whoever watches it. Displays consume these; the runner never prints."""

from __future__ import annotations

from collections.abc import Callable

from devbox.model.frozen import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.gray.summary import GraySummary


@dataclass(frozen=True, kw_only=True)
class PlanMade:
    """The plan that is about to run, before its first step. `steps` are (id, op, resource, reason)."""

    steps: tuple[tuple[str, str, str, str], ...]


@dataclass(frozen=True, kw_only=True)
class StepStarted:
    """A step of the plan began."""

    id: str
    op: str
    resource: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class StepProgress:
    """A step is under way. `text` is what it does just now; sizes are in bytes, `fraction` is of 1; None: unknown."""

    id: str
    text: str
    fraction: float | None = None
    done: int | None = None
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class StepLine:
    """One line a step's program printed."""

    id: str
    text: str


@dataclass(frozen=True, kw_only=True)
class StepEnded:
    """A step ended: `outcome` is "done", "failed" or "skipped". `text` is its result in a few words."""

    id: str
    op: str
    resource: str
    reason: str
    outcome: str
    seconds: float
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Note:
    """A sentence for the person: a warning, an address, what was adopted."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Lent:
    """The terminal is a program's from now on, until `Returned`; nothing is drawn. `text` says why, or is empty."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Returned:
    """The terminal is the display's again."""


@dataclass(frozen=True, kw_only=True)
class Looked:
    """A gray release was looked at; `changed`: it came to another phase or step."""

    glance: GraySummary
    changed: bool = False


Event = PlanMade | StepStarted | StepProgress | StepLine | StepEnded | Note | Lent | Returned | Looked
Sink = Callable[[Event], None]
