"""`metrics` of a strategy: what a gray release is judged by."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from devbox.roles.fields import Command, Duration, Model, Number, Text, Whole, field, parse_references

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
    authorization: Annotated[str, *field(parse_reference, _REFERENCE)] | None = None
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
    def _named(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A table, or one of the names that need none."""
        schema = handler(core_schema)
        table = handler.resolve_ref_schema(schema)
        return {"anyOf": [{"type": "string", "enum": list(JUDGED)}, dict(table)]}

    @property
    def called(self) -> str:
        """By which name a person is told of it."""
        return self.name or ("command" if self.command else "promql")

    @property
    def is_outside(self) -> bool:
        """Whether the number comes from elsewhere than the router."""
        return bool(self.command or self.promql)

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if self.command and self.promql:
            raise ValueError("is a command or a query, not both")
        if self.is_outside:
            self._check_outside()
        elif self.name not in JUDGED:
            raise ValueError(f'{self.name or "without a name"} is neither "errors" nor "latency": it needs a command')
        elif key := self._given(_OF_OUTSIDE, _OF_PROMQL):
            raise ValueError(f"{self.name} takes no {key}: that is for a command or a query")
        return self

    def _check_outside(self) -> None:
        if self.name in JUDGED:
            raise ValueError(f"{self.name} is what the router counts; a command or a query needs another name")
        if self.alpha is not None or "quantile" in self.model_fields_set:
            raise ValueError(f"{self.called} is held against max and min; alpha and quantile are for what is counted")
        if self.promql and (self.most is None and self.least is None):
            raise ValueError(f"{self.called} needs max or min")
        if self.promql and not (self.url or "").startswith(("http://", "https://")):
            raise ValueError(f'{self.called} needs the url of a Prometheus, such as "http://127.0.0.1:9090"')
        if self.command and (key := self._given(_OF_PROMQL)):
            raise ValueError(f"{self.called} takes no {key}: that is for a query")

    def _given(self, *keys: tuple[str, ...]) -> str:
        """The first of these keys that was written, by its name in the file."""
        for name in (name for group in keys for name in group):
            if name in self.model_fields_set:
                return type(self).model_fields[name].alias or name
        return ""
