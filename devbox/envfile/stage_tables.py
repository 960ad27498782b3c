"""`[stage.NAME]`: where a release goes, what it must pass, how traffic moves to it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

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
    build_annotations,
    describe_type,
    parse_references,
    parse_text,
)
from devbox.roles.network import Ports

JUDGED = ("errors", "latency")  # by what the router counts
_OF_OUTSIDE = ("most", "least", "every", "timeout", "failures")
_OF_PROMQL = ("url", "authorization")


def parse_reference(value: Any) -> str:
    """Where a value is that is fetched when it is needed: "env:NAME", "file:PATH" or "cmd:COMMAND"."""
    return parse_references({"authorization": value})["authorization"]


_REFERENCE = {"type": "string", "pattern": "^(env|file|cmd):"}


class MetricTable(Model):
    """One metric. `"errors"` and `"latency"` are what the router counts; a string is short for `{ name = … }`.

    With `command` or `promql` it is a number from outside, held against `max` and `min`. While there is none, because
    the command fails, runs too long, or the query finds nothing, the release stays at its step.
    """

    name: Text | None = None
    """`errors`, `latency`, or what a metric from outside is called; `command` or `promql` when left out."""
    alpha: Annotated[Number, Field(gt=0, lt=1)] | None = None
    """Its share of the chance of a false alarm; of `errors` and `latency`."""
    quantile: Annotated[Number, Field(gt=0, lt=1)] = 0.99
    """Of stable's latency, above which a request counts as slow."""
    command: Command | None = None
    """A command on this machine. With `max` or `min`, its last line is the number; without, 0 is yes and 1 is no."""
    promql: Text | None = None
    """A query that gives Prometheus one number. `$DEVBOX_RELEASE` and the like are as for commands."""
    url: Text | None = None
    """Of the Prometheus that is asked: `http://127.0.0.1:9090`."""
    authorization: Annotated[str, *build_annotations(parse_reference, _REFERENCE)] | None = None
    """Where the header is that Prometheus wants: `Bearer …` or `Basic …`."""
    most: Number | None = Field(default=None, alias="max")
    """A number above it is bad."""
    least: Number | None = Field(default=None, alias="min")
    """A number below it is bad."""
    every: Annotated[Duration, Field(gt=0)] = 10.0
    """How long after an answer it is asked again."""
    timeout: Annotated[Duration, Field(gt=0)] = 10.0
    """An answer that takes longer is none."""
    failures: Annotated[Whole, Field(ge=1)] = 1
    """So many bad answers in a row take the release back."""

    @model_validator(mode="before")
    @classmethod
    def _expand_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A table, or one of the names that need none."""
        schema = handler(core_schema)
        table = handler.resolve_ref_schema(schema)
        return {"anyOf": [{"type": "string", "enum": list(JUDGED)}, dict(table)]}

    @property
    def display_name(self) -> str:
        """By which name a person is told of it."""
        return self.name or ("command" if self.command else "promql")

    @property
    def is_external(self) -> bool:
        """Whether the number comes from elsewhere than the router."""
        return bool(self.command or self.promql)

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if self.command and self.promql:
            raise ValueError("is a command or a query, not both")
        if self.is_external:
            self._check_external()
        elif self.name not in JUDGED:
            raise ValueError(f'{self.name or "without a name"} is neither "errors" nor "latency": it needs a command')
        elif key := self._find_given(_OF_OUTSIDE, _OF_PROMQL):
            raise ValueError(f"{self.name} takes no {key}: that is for a command or a query")
        return self

    def _check_external(self) -> None:
        if self.name in JUDGED:
            raise ValueError(f"{self.name} is what the router counts; a command or a query needs another name")
        if self.alpha is not None or "quantile" in self.model_fields_set:
            raise ValueError(
                f"{self.display_name} is held against max and min; alpha and quantile are for what is counted"
            )
        if self.promql and (self.most is None and self.least is None):
            raise ValueError(f"{self.display_name} needs max or min")
        if self.promql and not (self.url or "").startswith(("http://", "https://")):
            raise ValueError(f'{self.display_name} needs the url of a Prometheus, such as "http://127.0.0.1:9090"')
        if self.command and (key := self._find_given(_OF_PROMQL)):
            raise ValueError(f"{self.display_name} takes no {key}: that is for a query")

    def _find_given(self, *keys: tuple[str, ...]) -> str:
        """The first of these keys that was written, by its name in the file."""
        for name in (name for group in keys for name in group):
            if name in self.model_fields_set:
                return type(self).model_fields[name].alias or name
        return ""


DEFAULT_ORDER = ("test", "staging", "gray", "production")
PERCENT = Field(gt=0, le=100)


class GateTable(Model):
    """What all gates have: how long their evidence counts."""

    expires: Duration | None = None
    """How long the evidence counts."""


class TestsGateTable(GateTable):
    """The tests of this very digest passed: today's tests, in every cell of today's matrix."""

    kind: Literal["tests"]
    """Which gate."""


class SignatureGateTable(GateTable):
    """The image is signed by one of `keys` (names in `[builders]` or `[approvers]`; none: any builder)."""

    kind: Literal["signature"]
    """Which gate."""
    keys: Texts = ()
    """Names of `[builders]` or `[approvers]`; none: any builder."""


class ProvenanceGateTable(GateTable):
    """The image says by whom and from what it was built, signed by who did."""

    kind: Literal["provenance"]
    """Which gate."""
    builders: Texts = ()
    """Names of `[builders]` who may have built it; none: any of them."""


class SbomGateTable(GateTable):
    """The image's bill of materials keeps to the policy."""

    kind: Literal["sbom"]
    """Which gate."""
    deny: Texts = ()
    """Packages that must not be in it: NAME, NAME@VERSION or a package URL, which names a version or any."""
    deny_licenses: Texts = ()
    """Licences that must not be in it, by their SPDX names."""
    vulnerabilities: Text | None = None
    """A file with a line for each package that must not be in it: an id such as CVE-2024-3094, and as in `deny`."""


class SoakGateTable(GateTable):
    """The release ran in `stage`, and was seen healthy and without drift, for a while."""

    kind: Literal["soak"]
    """Which gate."""
    stage: Text
    """Where the release must have been."""
    duration: Duration
    """For how long it must have been seen healthy."""


class ApprovalGateTable(GateTable):
    """`count` people of `from` (all approvers by default) approved this very deployment."""

    kind: Literal["approval"]
    """Which gate."""
    count: Annotated[Whole, Field(ge=1)] = 1
    """How many must approve."""
    from_: Texts = Field(default=(), alias="from")
    """Who counts; all approvers when left out."""


class FreezeGateTable(GateTable):
    """Closed in these windows ("Fri 16:00 - Mon 08:00") of an IANA time zone."""

    kind: Literal["freeze"]
    """Which gate."""
    windows: Texts
    """When it is closed."""
    zone: Text = "UTC"
    """The IANA time zone of the windows."""


class CommandGateTable(GateTable):
    """A command on the host that must end with 0."""

    kind: Literal["command"]
    """Which gate."""
    run: Command
    """The command on the host."""


AnyGate = Annotated[
    TestsGateTable
    | SignatureGateTable
    | ProvenanceGateTable
    | SbomGateTable
    | SoakGateTable
    | ApprovalGateTable
    | FreezeGateTable
    | CommandGateTable,
    Field(discriminator="kind"),
]


_COHORT = "cookie(:[A-Za-z0-9_-]+)?|header:[A-Za-z0-9_-]+"


def parse_cohort(value: Any) -> str:
    """By what visitors are known again."""
    text = parse_text(value)
    if not re.fullmatch(_COHORT, text):
        raise ValueError(f'must be "cookie", "cookie:NAME" or "header:NAME", not {text!r}')
    return text


class WarmupTable(Model):
    """The first requests and seconds of each new process, whose response times are not judged; failures are."""

    requests: Whole = 20
    """Requests of each process, at least."""
    seconds: Duration = 10.0
    """Time from the first request of each process on, at least."""


class StrategyTable(Model):
    """`[stage.NAME.strategy]`. All but `kind` and `irreversible` is about gray: visitors are shifted step by step."""

    kind: Literal["recreate", "rolling", "blue-green", "gray"] = "recreate"
    """How the new release takes over."""
    process: Text | None = None
    """The process whose traffic is judged; all when left out."""
    steps: tuple[Annotated[Number, PERCENT], ...] = (5.0, 20.0, 50.0)
    """Percent of visitors, rising."""
    min_time: Duration = 60.0
    """Time at each step, at least."""
    min_requests: Whole = 50
    """Requests of the new release at each step, at least."""
    timeout: Duration = 7200.0
    """A step without a decision for so long asks for a person."""
    bake: Duration = 300.0
    """How long the old release stays warm when all visitors have left it."""
    margin: Annotated[Number, Field(gt=0)] = 0.02
    """So much worse may the new release be, at most, in the share of failed (slow) requests, to go on."""
    alpha: Annotated[Number, Field(gt=0, lt=1)] = 0.01
    """Chance of taking back an equal release, over all its steps."""
    metrics: tuple[MetricTable, ...] = ()
    """What is watched; errors where neither errors nor latency is named."""
    cohort: Annotated[str, *build_annotations(parse_cohort, {"type": "string", "pattern": f"^({_COHORT})$"})] = "cookie"
    """By what visitors stay where they are: `cookie`, `cookie:NAME`, or `header:NAME`, which names the visitor."""
    rehearse: bool = False
    """Go back once from the first step, to see that it works."""
    irreversible: bool = False
    """Stop instead of going back."""
    warmup: WarmupTable = WarmupTable()
    """The first requests and seconds of each new process, whose response times are not judged."""
    baseline: Literal["stable", "fresh"] = "stable"
    """What the new release is compared with: stable, or as many new replicas of stable as the new release has."""

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if not self.steps:
            raise ValueError("needs steps, such as [1, 5, 25, 50]")
        if list(self.steps) != sorted(set(self.steps)):
            raise ValueError("has steps that do not rise")
        names = [metric.display_name for metric in self.metrics]
        if len(names) != len(set(names)):
            raise ValueError("has two metrics of one name")
        given = sum(metric.alpha or 0.0 for metric in self.metrics)
        counted = [metric for metric in self.metrics if not metric.is_external]
        if given > self.alpha or (given == self.alpha and any(metric.alpha is None for metric in counted)):
            raise ValueError(f"has metrics whose alpha is more than its own, {self.alpha:g}")
        return self


def parse_external(value: Any) -> dict[str, dict[str, str]]:
    """Needs met from outside: name → variables, each from "env:…", "file:…" or "cmd:…"."""
    if not isinstance(value, dict):
        raise ValueError(f"must be a table, not {describe_type(value)}")
    return {name: parse_references(variables) for name, variables in value.items()}


_EXTERNAL = {
    "type": "object",
    "additionalProperties": {"type": "object", "additionalProperties": {"type": "string"}},
}


class StageTable(Model):
    """Schema of `[stage.NAME]`. `into` shifts traffic inside another stage's environment."""

    into: Text | None = None
    """Another stage in whose environment this one shifts traffic."""
    target: Literal["local", "swarm", "kubernetes"] = "local"
    """Where it runs."""
    repository: Text | None = None
    """Where its images are kept."""
    publish: Ports = ()
    """Its fixed address."""
    verify: Duration | None = None
    """How long a release is observed once it has the traffic; by default 10s if rolling or blue-green."""
    drain: Duration = 300.0
    """How long requests and long connections of the old release may go on when the new one has the traffic."""
    protected: bool = False
    """Destroy it only by a command that names it; the last stage always is."""
    vars: TextTable = {}
    """Variables of the file that are others here."""
    env: Environment = {}
    """Variables of its processes."""
    secrets: Secrets = {}
    """Variables fetched when they start."""
    replicas: dict[str, Annotated[Whole, Field(ge=0)]] = {}
    """How many of each process."""
    external: Annotated[dict[str, dict[str, str]], *build_annotations(parse_external, _EXTERNAL)] = {}
    """Needs met from outside: name → variables."""
    gates: tuple[AnyGate, ...] = ()
    """What a release must pass to get in."""
    strategy: StrategyTable = Field(default_factory=StrategyTable)
    """How traffic moves."""


def describe_unsupported(name: str, table: StageTable) -> str | None:
    """What this version can't do with it yet."""
    return (
        f"[stage.{name}] is not used yet: this version runs none on {table.target}" if table.target != "local" else None
    )
