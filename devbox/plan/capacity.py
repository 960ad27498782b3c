"""How many containers an instance network takes. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from devbox.errors import EngineError
from devbox.model.plan import Step

MOST = 1023  # a Linux bridge has ports 1 to 1023, one for each container


def check(names: Collection[str], *, instance: str) -> None:
    """EngineError if more containers than that would be in the network at once."""
    if len(names) > MOST:
        raise EngineError(
            f"{instance} has {len(names)} containers in its network, which takes at most {MOST}",
            remedy="remove containers, or split them between projects",
        )


def check_steps(steps: Iterable[Step], standing: Collection[str], *, instance: str) -> None:
    """`check` of every moment of a plan: steps that start and remove containers, in their order."""
    present = set(standing)
    for step in steps:
        if step.op in ("start", "replace"):
            present.add(step.resource)
            check(present, instance=instance)
        elif step.op == "remove":
            present.discard(step.resource)
