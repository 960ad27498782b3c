"""Operations on a running stage: a restart gives all its replicas traffic, whatever was interrupted before."""

from __future__ import annotations

from support.deployments import deployment

from devbox.deploy import operations, stage_containers, strategies
from devbox.model.router import GREEN, WHOLE, Frontend, RouterState, Server

DEPLOYMENT = deployment("1", replicas={"web": 2, "worker": 1})
MARK = stage_containers.compute_mark(DEPLOYMENT)


def plan(*names: str, serving: tuple[str, ...], share: int = 0) -> list[str]:
    """Return the steps that restart these containers, checked to be one after the other."""
    servers = tuple(Server(name=f"{name}-{MARK}", address="10.0.0.1", port=8000) for name in serving)
    front = Frontend(process="web", port=8000, **{"green" if share else "blue": servers})
    found = strategies.RolloutInputs(
        specs=stage_containers.build_release_containers(DEPLOYMENT, needs={}, exports={}),
        served=frozenset({"web"}),
        standing={},
        router=RouterState(fronts=(front,), share=share),
        kept=frozenset({"router", "db"}),
    )
    steps = operations.plan_restart([name if name == "db" else f"{name}-{MARK}" for name in names], found).steps
    assert [step.after for step in steps] == [(), *((step.id,) for step in steps[:-1])]
    return [step.id.replace(f"-{MARK}", "") for step in steps]


def test_a_replica_without_traffic_gets_it_before_another_one_is_drained():
    steps = plan("web-1", "db", "web-2", "worker-1", serving=("web-1",))
    assert steps == [
        *("stop db", "start db"),
        *("stop web-2", "start web-2", "admit blue/web-2"),
        *("drain web-1", "finish web-1", "stop web-1", "start web-1", "admit blue/web-1"),
        *("stop worker-1", "start worker-1"),
    ]


def test_all_replicas_get_traffic_on_the_live_side():
    steps = plan("web-1", "web-2", serving=(), share=WHOLE)
    assert [step for step in steps if "admit" in step] == [f"admit {GREEN}/web-1", f"admit {GREEN}/web-2"]
