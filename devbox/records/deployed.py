"""Deployments of a stage: current, pending and previous ones, and the state of its router.

Supplements the ledger, which records decisions, by the actual state for the next command. The file is in the
configuration directory (`records/host_files.py`): it decides whether a gray release is evaluated.
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
_KEPT = 10  # previous deployments


@dataclass(frozen=True, kw_only=True)
class StageDeployments:
    """`running` has the traffic, or had it last. `before`: previous ones, newest first, without duplicates.

    `draining`: containers without new requests, and the start of the drain, in seconds since boot.
    """

    running: Deployment | None = None
    coming: Deployment | None = None
    before: tuple[Deployment, ...] = ()
    router: RouterState = field(default_factory=RouterState)
    draining: dict[str, float] = field(default_factory=dict)

    def finish_rollout(self) -> StageDeployments:
        """Return the record after the pending deployment has become the current one."""
        if self.coming is None:
            return self
        past = {_identify(each): each for each in reversed((self.running, *self.before)) if each is not None}
        past.pop(_identify(self.coming), None)
        return replace(self, running=self.coming, coming=None, before=tuple(reversed(past.values()))[:_KEPT])

    def runs(self, deployment: Deployment) -> bool:
        """True if this release with this config has the traffic, or had it last."""
        return self.running is not None and _identify(self.running) == _identify(deployment)

    def has_run(self, deployment: Deployment) -> bool:
        """True if the deployment runs, or is a recorded previous one."""
        return self.runs(deployment) or any(_identify(each) == _identify(deployment) for each in self.before)

    @property
    def all_deployments(self) -> tuple[Deployment, ...]:
        """The current, pending and previous deployments."""
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
        """True if the stage has a record, even a damaged one."""
        return self._files.exists(self._path)

    def read(self) -> StageDeployments:
        """Return the record; an empty one for a new stage. DevboxError if the file is damaged."""
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
            f"{self._path} was written by another version of devbox (format {plain['format']})",
            remedy="upgrade devbox: pip install -U devbox-pipeline",
        )

    def write(self, deployed: StageDeployments) -> None:
        """Write the record; readable only by its owner, as variables may be confidential."""
        self._files.write(self._path, json.dumps({"format": DEPLOYED_FORMAT, "deployed": codec.dump(deployed)}))
