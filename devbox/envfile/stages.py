"""Conversion of `[stage.NAME]` tables to the stage model. Pure."""

from __future__ import annotations

from collections.abc import Callable

from devbox.envfile import gate_tables
from devbox.envfile import stage_tables as tables
from devbox.envfile.document import Document
from devbox.envfile.stage_tables import MetricTable
from devbox.model import gate_kinds
from devbox.model import stage as model
from devbox.roles.context import Key


def expand(document: Document, name: str, where: Callable[[Key], str]) -> model.Stage:
    """Return the stage of that name; a stage of the order without a table has all defaults."""
    table = document.stage.get(name) or tables.StageTable()
    order = document.order()
    return model.Stage(
        name=name,
        order=order.index(name),
        protected=table.protected or name == order[-1],
        target=table.target,
        into=table.into or "",
        repository=table.repository or "",
        publish=table.publish,
        drain=table.drain,
        verify=table.verify,
        vars=dict(table.vars),
        env=dict(table.env),
        secrets=dict(table.secrets),
        replicas=dict(table.replicas),
        external={need: dict(variables) for need, variables in table.external.items()},
        gates=tuple(_expand_gate(gate) for gate in table.gates),
        strategy=_expand_strategy(table.strategy),
        where=where(("stage", name)),
    )


def _expand_gate(gate: gate_tables.GateTable) -> model.Gate:
    plain = {gate_tables.FIELDS.get(name, name): value for name, value in gate}
    settings: type[model.Gate] = gate_kinds.load(gate_kinds.GATES[plain.pop("kind")].settings)
    return settings(**plain)


def _expand_strategy(table: tables.StrategyTable) -> model.Strategy:
    counted = tuple(
        model.Metric(name=each.display_name, alpha=each.alpha, quantile=each.quantile)
        for each in table.metrics
        if not each.is_external
    )
    outside = tuple(_expand_external(each) for each in table.metrics if each.is_external)
    warmup = model.Warmup(**dict(table.warmup))
    return model.Strategy(**{**dict(table), "metrics": counted, "outside": outside, "warmup": warmup})


def _expand_external(table: MetricTable) -> model.ExternalMetric:
    return model.ExternalMetric(
        name=table.display_name,
        command=table.command or (),
        promql=table.promql or "",
        url=(table.url or "").rstrip("/"),
        authorization=table.authorization or "",
        most=table.most,
        least=table.least,
        every=table.every,
        timeout=table.timeout,
        failures=table.failures,
    )
