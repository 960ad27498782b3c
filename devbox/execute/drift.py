"""Whether what runs in a stage is what was deployed there, by what the runtime reports. What is not gets no traffic."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from devbox.engines.contract import Engine, InstanceView
from devbox.errors import EngineError
from devbox.execute.router import Router
from devbox.frozen import dataclass
from devbox.model.resolved import Instance
from devbox.plan import staging
from devbox.records.deployed import Deployed, DeployedRecord

_MOMENT = 0.3  # seconds between two looks: a container that ends or comes just now may be neither


@dataclass(frozen=True, kw_only=True)
class Drift:
    """A running container that is not what was deployed. `since`: when it was started.

    `found`: what it is proven to run, "" for what no digest stands for; `wanted` "": it is of no release deployed here.
    `doubt`: why nothing can be said of it; then it is left alone.
    """

    container: str
    since: str
    found: str = ""
    wanted: str = ""
    doubt: str = ""

    @property
    def sentence(self) -> str:
        """In a person's words."""
        if self.doubt:
            return self.doubt
        if not self.wanted:
            return f"{self.container} is of no release that was deployed here"
        return (
            f"{self.container} runs {self.found or 'something that no digest stands for'}, deployed was {self.wanted}"
        )


def find(instance: Instance, engine: Engine, record: DeployedRecord) -> tuple[Drift, ...]:
    """All there is; what was seen only once is none."""
    first = tuple(_seen(instance, engine, record.read()))
    if not first:
        return ()
    time.sleep(_MOMENT)
    return tuple(each for each in _seen(instance, engine, record.read()) if each in first)


def shut_out(found: Iterable[Drift], router: Router) -> frozenset[str]:
    """Let none of these serve any more; who did. For whoever holds the stage's instance."""
    names = router.state.names() & {each.container for each in found if not each.doubt}
    for name in names:
        router.shut_out(name)
    return names


def _seen(instance: Instance, engine: Engine, known: Deployed) -> Iterator[Drift]:
    digests = {staging.mark(each): each.release.image for each in known.all}
    view = engine.observe(instance)
    for name, digits in _replicas(view):
        wanted, since = digests.get(digits, ""), view.containers[name].started_at or ""
        try:
            found = engine.proven(instance, name)
        except EngineError as error:
            yield Drift(container=name, since=since, wanted=wanted, doubt=error.sentence)
        else:
            if not wanted or found != wanted:
                yield Drift(container=name, since=since, found=found, wanted=wanted)


def _replicas(view: InstanceView) -> Iterator[tuple[str, str]]:
    """The running containers of releases, each with the digits of its deployment."""
    for name, seen in view.containers.items():
        if seen.state == "running" and (digits := staging.mark_of(seen.image)):
            yield name, digits
