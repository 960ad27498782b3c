"""Where metrics from outside are asked: in the project, with the variables of the stage, and what is on trial there."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.envfile import secrets
from devbox.execute.measures import Place
from devbox.frozen import dataclass
from devbox.gray.trial import Trial
from devbox.model.container import Secret
from devbox.model.resolved import HostAccess
from devbox.model.stage import Deployment, Stage


@dataclass(frozen=True, kw_only=True)
class Around:
    """The project, and what its stages may have of this machine."""

    root: str
    allowed: tuple[HostAccess, ...]

    def place(self, trial: Trial, *, stage: Stage, home: Stage, address: str, stable: Deployment | None) -> Place:
        """For a release that `stage` has on trial in the environment of `home`, beside `stable`."""
        outside = {name: at for every in home.external.values() for name, at in every.items()}

        def fetch(wanted: Mapping[str, Secret]) -> dict[str, str]:
            return secrets.fetch(wanted, root=self.root, where=stage.where, allowed=self.allowed)

        return Place(
            root=self.root,
            env={**home.env, **stage.env},
            names={
                "DEVBOX_STAGE": stage.name,
                "DEVBOX_RELEASE": trial.release,
                "DEVBOX_DIGEST": trial.deployment.release.image,
                "DEVBOX_STABLE_RELEASE": stable.release.id if stable else "",
                "DEVBOX_ADDRESS": address,
            },
            secrets={**{name: Secret(reference=at) for name, at in outside.items()}, **home.secrets, **stage.secrets},
            allowed=frozenset(each.reference for each in self.allowed),
            fetch=fetch,
        )
