"""What a stage runs, what is being brought in, what it ran before, and what its router is to do.

Kept in parallel to the ledger, which says what was decided: this is what the next command finds of what was done. The
file lies in the configuration directory (`records/hostfiles.py`): it decides whether a gray release is tried.
"""

from __future__ import annotations

import json
from dataclasses import field, replace

from devbox.errors import DevboxError
from devbox.host.paths import Paths
from devbox.model import codec, jsontext
from devbox.model.frozen import dataclass
from devbox.model.router import RouterState
from devbox.model.stage import Deployment
from devbox.records.host_files import HostFiles

DEPLOYED_FORMAT = 1
_KEPT = 10  # of what ran before


@dataclass(frozen=True, kw_only=True)
class StageDeployments:
    """`running` has the traffic, or had it last. `before`: the newest first, each once.

    `draining`: containers that get no requests any more, and since when, in seconds since the boot.
    """

    running: Deployment | None = None
    coming: Deployment | None = None
    before: tuple[Deployment, ...] = ()
    router: RouterState = field(default_factory=RouterState)
    draining: dict[str, float] = field(default_factory=dict)

    def finish_rollout(self) -> StageDeployments:
        """The same when what was coming runs."""
        if self.coming is None:
            return self
        past = {_identify(each): each for each in reversed((self.running, *self.before)) if each is not None}
        past.pop(_identify(self.coming), None)
        return replace(self, running=self.coming, coming=None, before=tuple(reversed(past.values()))[:_KEPT])

    def runs(self, deployment: Deployment) -> bool:
        """True if this very release, with this config, has the traffic or had it last."""
        return self.running is not None and _identify(self.running) == _identify(deployment)

    def has_run(self, deployment: Deployment) -> bool:
        """True if it runs, or is one of those before."""
        return self.runs(deployment) or any(_identify(each) == _identify(deployment) for each in self.before)

    @property
    def all_deployments(self) -> tuple[Deployment, ...]:
        """Everything that runs, comes, or could be gone back to."""
        return tuple(each for each in (self.running, self.coming, *self.before) if each)


def _identify(deployment: Deployment) -> tuple[str, str]:
    return deployment.release.id, deployment.config_digest


class DeployedRecord:
    """The file of one stage's instance. Writers hold the instance's lock."""

    def __init__(self, paths: Paths, instance: str) -> None:
        self._path = paths.stage_deployments(instance)
        self._files = HostFiles(paths)

    @property
    def exists(self) -> bool:
        """True if anything was deployed here and not forgotten since; also if the record is damaged."""
        return self._files.exists(self._path)

    def read(self) -> StageDeployments:
        """What is known; nothing of a stage in which nothing was run. DevboxError if the file is damaged."""
        text = self._files.read(self._path)
        if text is None:
            return StageDeployments()
        try:
            plain = jsontext.loads(text)
            if plain["format"] == DEPLOYED_FORMAT:
                return codec.load(StageDeployments, plain["deployed"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DevboxError(f"{self._path} is damaged", remedy=f"remove it: rm {self._path}") from None
        raise DevboxError(
            f"{self._path} was written by another devbox (format {plain['format']})",
            remedy="upgrade devbox: pip install -U devbox-pipeline",
        )

    def write(self, deployed: StageDeployments) -> None:
        """Keep it; only its owner can read it, as variables may be confidential."""
        self._files.write(self._path, json.dumps({"format": DEPLOYED_FORMAT, "deployed": codec.dump(deployed)}))
