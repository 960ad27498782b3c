"""Schema of `[stage.NAME]`: target, gates and strategy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Union

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from devbox.envfile.gate_tables import GateTable
from devbox.model import gate_kinds
from devbox.roles.fields import (
    Command,
    Duration,
    Environment,
    Model,
    Number,
    Secrets,
    Text,
    TextTable,
    Whole,
    build_annotations,
    describe_type,
    parse_references,
    parse_text,
)
from devbox.roles.network import Ports

JUDGED = ("errors", "latency")  # by the router's counts
_OF_OUTSIDE = ("most", "least", "every", "timeout", "failures")
_OF_PROMQL = ("url", "authorization")


def parse_reference(value: Any) -> str:
    """Reference to a value fetched when needed: "env:NAME", "file:PATH" or "cmd:COMMAND"."""
    return parse_references({"authorization": value})["authorization"]


_REFERENCE = {"type": "string", "pattern": "^(env|file|cmd):"}


class MetricTable(Model):
    """A metric: `"errors"` and `"latency"` are counted by the router; a string is short for `{ name = … }`.

    With `command` or `promql`, an external number, compared with `max` and `min`. Without a reading, as the command
    fails, times out or the query finds nothing, the release stays at its step.
    """

    name: Text | None = None
    """`errors`, `latency`, or the name of an external metric (default: `command` or `promql`)."""
    alpha: Annotated[Number, Field(gt=0, lt=1)] | None = None
    """Share of the false alarm probability; only for `errors` and `latency`."""
    quantile: Annotated[Number, Field(gt=0, lt=1)] = 0.99
    """Quantile of stable's latency above which a request counts as slow."""
    command: Command | None = None
    """Command on the host. With `max` or `min`, its last line is the number; otherwise exit code 0 is yes, 1 is no."""
    promql: Text | None = None
    """Prometheus query that returns one number. `$DEVBOX_RELEASE` etc. are available as for commands."""
    url: Text | None = None
    """URL of the Prometheus server, such as `http://127.0.0.1:9090`."""
    authorization: Annotated[str, *build_annotations(parse_reference, _REFERENCE)] | None = None
    """Reference to the authorization header for Prometheus: `Bearer …` or `Basic …`."""
    most: Number | None = Field(default=None, alias="max")
    """Highest good value."""
    least: Number | None = Field(default=None, alias="min")
    """Lowest good value."""
    every: Annotated[Duration, Field(gt=0)] = 10.0
    """Interval between a reading and the next query."""
    timeout: Annotated[Duration, Field(gt=0)] = 10.0
    """Timeout of a query."""
    failures: Annotated[Whole, Field(ge=1)] = 1
    """Number of consecutive bad readings that roll the release back."""

    @model_validator(mode="before")
    @classmethod
    def _expand_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return a schema for a table or one of the built-in names."""
        schema = handler(core_schema)
        table = handler.resolve_ref_schema(schema)
        return {"anyOf": [{"type": "string", "enum": list(JUDGED)}, dict(table)]}

    @property
    def display_name(self) -> str:
        """Name of the metric in messages."""
        return self.name or ("command" if self.command else "promql")

    @property
    def is_external(self) -> bool:
        """True for a metric that is not counted by the router."""
        return bool(self.command or self.promql)

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.command and self.promql:
            raise ValueError("has both command and promql")
        if self.is_external:
            self._check_external()
        elif self.name not in JUDGED:
            name = self.name or "a metric without a name"
            raise ValueError(f'{name} requires command or promql, unless it is "errors" or "latency"')
        elif key := self._find_given(_OF_OUTSIDE, _OF_PROMQL):
            raise ValueError(f"{key} of {self.name} requires command or promql")
        return self

    def _check_external(self) -> None:
        if self.name in JUDGED:
            raise ValueError(f"{self.name} is a metric of the router: choose another name for the command or query")
        if self.alpha is not None or "quantile" in self.model_fields_set:
            raise ValueError(
                f"{self.display_name}: alpha and quantile apply only to errors and latency; use max and min"
            )
        if self.promql and (self.most is None and self.least is None):
            raise ValueError(f"{self.display_name} requires max or min")
        if self.promql and not (self.url or "").startswith(("http://", "https://")):
            raise ValueError(
                f'{self.display_name} requires the URL of a Prometheus server, such as "http://127.0.0.1:9090"'
            )
        if self.command and (key := self._find_given(_OF_PROMQL)):
            raise ValueError(f"{key} of {self.display_name} requires promql")

    def _find_given(self, *keys: tuple[str, ...]) -> str:
        """Return the first of these keys that is set, by its name in the file."""
        for name in (name for group in keys for name in group):
            if name in self.model_fields_set:
                return type(self).model_fields[name].alias or name
        return ""


DEFAULT_ORDER = ("test", "staging", "gray", "production")
PERCENT = Field(gt=0, le=100)
_COHORT = "cookie(:[A-Za-z0-9_-]+)?|header:[A-Za-z0-9_-]+"


def parse_cohort(value: Any) -> str:
    """Key by which clients are recognized: `cookie`, `cookie:NAME` or `header:NAME`."""
    text = parse_text(value)
    if not re.fullmatch(_COHORT, text):
        raise ValueError(f'expected "cookie", "cookie:NAME" or "header:NAME", got {text!r}')
    return text


class WarmupTable(Model):
    """Initial requests and seconds of each new process, whose response times are not judged; failures are."""

    requests: Whole = 20
    """Minimum number of requests per process."""
    seconds: Duration = 10.0
    """Minimum time since the first request of each process."""


class StrategyTable(Model):
    """Schema of `[stage.NAME.strategy]`. All keys except `kind` and `irreversible` apply to gray releases."""

    kind: Annotated[
        Literal["recreate", "rolling", "blue-green", "gray", "canary"],
        AfterValidator(lambda kind: "gray" if kind == "canary" else kind),
    ] = "recreate"
    """Rollout strategy; `canary` is another name of `gray`."""
    process: Text | None = None
    """Process whose traffic is judged (default: all)."""
    steps: tuple[Annotated[Number, PERCENT], ...] = (5.0, 20.0, 50.0)
    """Increasing percentages of clients."""
    min_time: Duration = 60.0
    """Minimum time per step."""
    min_requests: Whole = 50
    """Minimum number of requests to the new release per step."""
    timeout: Duration = 7200.0
    """Time without a decision after which a step requires an operator."""
    bake: Duration = 300.0
    """Time for which the old release stays warm after all clients have left it."""
    margin: Annotated[Number, Field(gt=0)] = 0.02
    """Allowed increase of the rate of failed (slow) requests."""
    alpha: Annotated[Number, Field(gt=0, lt=1)] = 0.01
    """Probability of rolling back an equally good release, over all its steps."""
    metrics: tuple[MetricTable, ...] = ()
    """Watched metrics; `errors` is added unless errors or latency is listed."""
    cohort: Annotated[str, *build_annotations(parse_cohort, {"type": "string", "pattern": f"^({_COHORT})$"})] = "cookie"
    """Key of sticky sessions: `cookie`, `cookie:NAME`, or `header:NAME`, a header that identifies the client."""
    rehearse: bool = False
    """Rehearse a rollback at the first step."""
    irreversible: bool = False
    """Pause instead of rolling back."""
    warmup: WarmupTable = WarmupTable()
    """Initial requests and seconds of each new process, whose response times are not judged."""
    baseline: Literal["stable", "fresh"] = "stable"
    """Control of the comparison: stable, or as many fresh replicas of stable as the new release has."""

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if not self.steps:
            raise ValueError("requires steps, such as [1, 5, 25, 50]")
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError("has steps that do not increase")
        names = [metric.display_name for metric in self.metrics]
        if len(names) != len(set(names)):
            raise ValueError("has two metrics of the same name")
        given = sum(metric.alpha or 0.0 for metric in self.metrics)
        counted = [metric for metric in self.metrics if not metric.is_external]
        if given > self.alpha or (given == self.alpha and any(metric.alpha is None for metric in counted)):
            raise ValueError(f"has metrics whose alpha exceeds its own, {self.alpha:g}")
        return self


def parse_external(value: Any) -> dict[str, dict[str, str]]:
    """External needs: name → variables, each a reference "env:…", "file:…" or "cmd:…"."""
    if not isinstance(value, dict):
        raise ValueError(f"expected a table, got {describe_type(value)}")
    return {name: parse_references(variables) for name, variables in value.items()}


_EXTERNAL = {
    "type": "object",
    "additionalProperties": {"type": "object", "additionalProperties": {"type": "string"}},
}


GATE_TABLES: dict[str, type[GateTable]] = {name: gate_kinds.load(kind.table) for name, kind in gate_kinds.GATES.items()}
if TYPE_CHECKING:
    AnyGate = GateTable
else:
    AnyGate = Annotated[Union[tuple(GATE_TABLES.values())], Field(discriminator="kind")]  # noqa: UP007 - of a table


class StageTable(Model):
    """Schema of `[stage.NAME]`. `into` shifts traffic in another stage's environment."""

    into: Text | None = None
    """Stage whose environment this stage uses to shift traffic."""
    target: Literal["local", "swarm", "kubernetes"] = "local"
    """Platform of the stage."""
    repository: Text | None = None
    """Repository of the stage's images."""
    publish: Ports = ()
    """Fixed published ports."""
    verify: Duration | None = None
    """Time for which a release with the traffic is observed (default: 10s for rolling and blue-green)."""
    drain: Duration = 300.0
    """Time for open requests and connections of the old release after the switch."""
    protected: bool = False
    """Require the name of the stage in destructive commands; always true for the last stage."""
    vars: TextTable = {}
    """Variables of the file, overridden for this stage."""
    env: Environment = {}
    """Environment variables of the stage's processes."""
    secrets: Secrets = {}
    """Environment variables fetched at process start."""
    replicas: dict[str, Annotated[Whole, Field(ge=0)]] = {}
    """Number of replicas per process."""
    external: Annotated[dict[str, dict[str, str]], *build_annotations(parse_external, _EXTERNAL)] = {}
    """External needs: name → variables."""
    gates: tuple[AnyGate, ...] = ()
    """Gates of the stage."""
    strategy: StrategyTable = Field(default_factory=StrategyTable)
    """Rollout strategy of the stage."""


def describe_unsupported(name: str, table: StageTable) -> str | None:
    """Describe what this version does not support."""
    return (
        f"[stage.{name}] is not used yet: this version does not support the target {table.target}"
        if table.target != "local"
        else None
    )
