"""`[stage.NAME]`: where a release goes, what it must pass, how traffic moves to it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from devbox.roles.fields import (
    Command,
    Duration,
    Environment,
    Model,
    Number,
    Secrets,
    Text,
    Texts,
    TextTable,
    Whole,
    field,
    kind_of,
    parse_secrets,
)
from devbox.roles.network import Ports

DEFAULT_ORDER = ("test", "staging", "gray", "production")
PERCENT = Field(gt=0, le=100)


class Gate(Model):
    """What all gates have: how long their evidence counts."""

    expires: Duration | None = None


class TestsGate(Gate):
    """The tests of this very digest passed."""

    kind: Literal["tests"]


class SignatureGate(Gate):
    """The image is signed by one of `keys` (names in `[approvers]`; none: the project's key)."""

    kind: Literal["signature"]
    keys: Texts = ()


class ProvenanceGate(Gate):
    """The image says by whom and from what it was built."""

    kind: Literal["provenance"]
    builders: Texts = ()


class SbomGate(Gate):
    """The image's bill of materials keeps to the policy."""

    kind: Literal["sbom"]
    deny: Texts = ()
    deny_licenses: Texts = ()


class SoakGate(Gate):
    """The release has been in `stage` for a while."""

    kind: Literal["soak"]
    stage: Text
    duration: Duration


class ApprovalGate(Gate):
    """`count` people of `from` (all approvers by default) approved."""

    kind: Literal["approval"]
    count: Annotated[Whole, Field(ge=1)] = 1
    from_: Texts = Field(default=(), alias="from")


class FreezeGate(Gate):
    """Closed in these windows ("Fri 16:00 - Mon 08:00") of an IANA time zone."""

    kind: Literal["freeze"]
    windows: Texts
    zone: Text = "UTC"


class CommandGate(Gate):
    """A command on the host that must end with 0."""

    kind: Literal["command"]
    run: Command


AnyGate = Annotated[
    TestsGate | SignatureGate | ProvenanceGate | SbomGate | SoakGate | ApprovalGate | FreezeGate | CommandGate,
    Field(discriminator="kind"),
]


class MetricTable(Model):
    """What a gray release watches besides errors: requests slower than stable's frozen quantile."""

    name: Literal["errors", "latency"]
    alpha: Annotated[Number, Field(gt=0, lt=1)] | None = None
    quantile: Annotated[Number, Field(gt=0, lt=1)] = 0.99


class StrategyTable(Model):
    """`[stage.NAME.strategy]`. `steps` are percentages of traffic; times and counts must all be met to advance."""

    kind: Literal["recreate", "rolling", "blue-green", "gray"] = "recreate"
    process: Text | None = None
    steps: tuple[Annotated[Number, PERCENT], ...] = ()
    min_time: Duration = 0.0
    min_requests: Whole = 0
    timeout: Duration | None = None
    bake: Duration = 0.0
    margin: Annotated[Number, Field(gt=0)] | None = None
    alpha: Annotated[Number, Field(gt=0, lt=1)] = 0.01
    metrics: tuple[MetricTable, ...] = ()
    cookie: Text | None = None
    header: Text | None = None
    irreversible: bool = False

    @model_validator(mode="after")
    def _steps_rise(self) -> Self:
        if self.kind == "gray" and not self.steps:
            raise ValueError("needs steps, such as [1, 5, 25, 50]")
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError("has steps that do not rise")
        return self


def parse_external(value: Any) -> dict[str, dict[str, str]]:
    """Needs met from outside: name → variables, each from "env:…", "file:…" or "cmd:…"."""
    if not isinstance(value, dict):
        raise ValueError(f"must be a table, not {kind_of(value)}")
    return {name: parse_secrets(variables) for name, variables in value.items()}


_EXTERNAL = {
    "type": "object",
    "additionalProperties": {"type": "object", "additionalProperties": {"type": "string"}},
}


class StageTable(Model):
    """Schema of `[stage.NAME]`. `into` shifts traffic inside another stage's environment."""

    into: Text | None = None
    target: Literal["local", "swarm", "kubernetes"] = "local"
    repository: Text | None = None
    publish: Ports = ()
    vars: TextTable = {}
    env: Environment = {}
    secrets: Secrets = {}
    replicas: dict[str, Annotated[Whole, Field(ge=0)]] = {}
    external: Annotated[dict[str, dict[str, str]], *field(parse_external, _EXTERNAL)] = {}
    gates: tuple[AnyGate, ...] = ()
    strategy: StrategyTable = Field(default_factory=StrategyTable)


def later(name: str) -> str:
    """What this version can't do with it yet."""
    return f"[stage.{name}] is not used yet: this version has no `devbox promote`"
