"""A plan is a value between deciding and doing."""

from __future__ import annotations

from devbox.frozen import dataclass


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to do. `op` is a verb of the runner, `resource` its object, `reason` why, for a person.

    `after` holds the ids of steps that must have succeeded before this one starts.
    """

    op: str  # bake | network | start | replace | stop | remove | setup | ready | save | restore | hook
    #          of a stage's releases also: admit | switch | verify | drain | finish | retire | reload
    resource: str
    reason: str
    after: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Unique in its plan."""
        return f"{self.op} {self.resource}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Steps in an order in which each comes after those it waits for. Empty: nothing to do."""

    steps: tuple[Step, ...]

    def __bool__(self) -> bool:
        return bool(self.steps)
