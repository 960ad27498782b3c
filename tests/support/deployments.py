"""Deployments for tests of planning."""

from __future__ import annotations

from typing import Any

from devbox.model.container import Health, Port
from devbox.model.release import Process, Release, ReleaseConfig
from devbox.model.stage import Deployment, Stage, Strategy

PROCESSES = {
    "web": Process(
        kind="service",
        command=("web",),
        ports=(Port(container=8000),),
        health=Health(http="/healthz", port=8000),
        env={"KIND": "web"},
    ),
    "worker": Process(kind="service", command=("work",)),
    "migrate": Process(kind="job", command=("migrate",)),
}


def deployment(
    release: str = "1", *, strategy: str = "rolling", needs: dict[str, dict[str, str]] | None = None, **stage: Any
) -> Deployment:
    """A release in a stage called staging."""
    config = ReleaseConfig(processes=PROCESSES, needs=needs or {})
    made = Release(id=f"sha256:{release * 64}", image=f"sha256:{'a' * 64}", config=config, source="s", created_at="t")
    return Deployment(
        release=made, stage=Stage(name="staging", order=1, strategy=Strategy(kind=strategy), where="f:1", **stage)
    )
