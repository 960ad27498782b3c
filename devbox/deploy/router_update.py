"""Update of a router for a deployment: its frontends and sticky key, without servers that no longer exist.

Pure, but the key of a new cohort is random. The result is part of the observation of a stage; `Router.prepare` writes
the result when the deployment is applied.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Collection, Iterable
from dataclasses import replace

from devbox.deploy.stage_containers import ServedProcess
from devbox.model.frozen import dataclass
from devbox.model.router import GROUPS, Cohort, Frontend, RouterState, Server, StickyKey

_KEY_BYTES = 32


@dataclass(frozen=True, kw_only=True)
class RouterUpdate:
    """The state to write before the steps of a deployment. `draining`: containers that get no new requests then.

    `lost`: recorded containers that do not exist. `reload`: whether a running router has to reload its files.
    """

    state: RouterState
    draining: frozenset[str]
    lost: frozenset[str]
    reload: bool


def plan(
    before: RouterState,
    draining: Collection[str],
    served: Iterable[ServedProcess],
    known: StickyKey | None,
    *,
    existing: Collection[str],
) -> RouterUpdate:
    """Plan the update from a recorded state and its draining containers, given the `existing` containers.

    Servers that do not exist, for example after a reboot, are dropped: their addresses may be reused.
    """
    recorded = before.list_container_names()
    lost = recorded.union(draining).difference(existing)
    current = before.remove_servers(recorded & lost)
    after = replace(current, fronts=_build_frontends(current, served), cohort=_build_cohort(current, known))
    return RouterUpdate(
        state=after,
        draining=recorded.union(draining) - after.list_container_names() - lost,
        lost=lost,
        reload=_compute_shape(current) != _compute_shape(after),
    )


def _build_frontends(before: RouterState, served: Iterable[ServedProcess]) -> tuple[Frontend, ...]:
    """Return the frontends of served processes; former ones stay while they have servers.

    A renamed process on a served port keeps that port's servers until its own replicas start.
    """
    served = tuple(served)
    named = {front.process: front for front in before.fronts}
    free = {front.port: front for front in before.fronts if front.process not in {each.process for each in served}}
    found = {each.process: named.get(each.process) or free.get(each.port) for each in served}
    fronts = [
        replace(
            found[each.process] or Frontend(process=each.process, port=each.port), process=each.process, port=each.port
        )
        for each in served
    ]
    paths = {each.process: each.check for each in served}
    # A frontend without a path is not checked; its backend is shared by both releases.
    fronts = [
        replace(front, asks=bool(paths[front.process]) and all(each.check for each in _list_servers(front)))
        for front in fronts
    ]
    taken, kept = {front.port for front in fronts}, {front.process for front in fronts}
    left = (front for front in before.fronts if front.process not in kept and front.port not in taken)
    return (*fronts, *(front for front in left if _list_servers(front)))


def _list_servers(front: Frontend) -> list[Server]:
    return [server for group in GROUPS for server in front.get_servers(group)]


def _compute_shape(state: RouterState) -> tuple[object, ...]:
    return (state.cohort, *((front.process, front.port, front.asks) for front in state.fronts))


def _build_cohort(before: RouterState, known: StickyKey | None) -> Cohort | None:
    """Return the cohort. The key is permanent: a new one would turn every client into a new client.

    So are the baseline's backends: empty ones get no requests, and removing them requires a reload.
    """
    if known is None:
        return None
    key = before.cohort.key if before.cohort else base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
    baseline = known.baseline or (before.cohort is not None and before.cohort.baseline)
    return Cohort(key=key, cookie=known.cookie, header=known.header, baseline=baseline)
