"""What promotion asks of a stage's environment. Whoever runs stages somewhere implements it."""

from __future__ import annotations

from typing import Protocol

from devbox.execute.events import Sink
from devbox.model.stage import Deployment, StageObserved


class Environment(Protocol):
    """One stage's environment. Every verb can be called again after a kill: it goes on, or finds nothing to do."""

    def observe(self) -> StageObserved:
        """Look once. Changes nothing."""

    def deploy(self, wanted: Deployment, sink: Sink, *, verify: bool = False) -> None:
        """Have the stage run this, and nothing else, by the strategy of its stage.

        `verify`: observe it for as long as its stage says when it has the traffic; VerifyFailed if it is not well.

        From any state: a deployment that was killed, of this or of another release, is continued or undone. Traffic
        goes only to what the runtime reports to be the digest of `wanted`, and is ready. When this raises, traffic goes
        where it went before, as far as that still runs.
        """

    def retire(self) -> None:
        """Stop everything of the stage; data stays."""
