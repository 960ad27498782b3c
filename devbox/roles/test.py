"""`[test]` and `[test.matrix]`: the project's tests, in every environment they must pass in."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from devbox.roles.fields import Duration, InnerPaths, Model, Whole, field, kind_of, parse_text
from devbox.roles.parts import ImageParts, RunParts
from devbox.roles.suggest import did_you_mean


def parse_axis(value: Any) -> tuple[str, ...]:
    """The values of an axis."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"must be a list of values, not {kind_of(value) if value != [] else 'an empty one'}")
    return tuple(parse_text(item) for item in value)


def parse_cells(value: Any) -> tuple[dict[str, str], ...]:
    """Combinations of axis values."""
    if not isinstance(value, list) or not all(isinstance(cell, dict) for cell in value):
        raise ValueError('must be a list of combinations such as [{ python = "3.14" }]')
    return tuple({key: parse_text(item) for key, item in cell.items()} for cell in value)


_AXIS = {"type": "array", "items": {"type": ["string", "integer", "boolean"]}, "minItems": 1}
_CELLS = {"type": "array", "items": {"type": "object"}}
Axis = Annotated[tuple[str, ...], *field(parse_axis, _AXIS)]
Cells = Annotated[tuple[dict[str, str], ...], *field(parse_cells, _CELLS)]


class MatrixTable(Model):
    """`[test.matrix]`: every key but `include` and `exclude` is an axis that overrides the variable of its name."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Axis] = Field(init=False)

    include: Cells = ()
    """Cells beside the axes' product."""
    exclude: Cells = ()
    """Cells of the product that are left out."""

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """Axis name → values."""
        return dict(self.__pydantic_extra__ or {})

    @model_validator(mode="after")
    def _exclude_knows_its_axes(self) -> MatrixTable:
        for cell in self.exclude:
            for key, value in cell.items():
                if key not in self.axes:
                    raise ValueError(f"exclude names {key}, which is no axis{did_you_mean(key, self.axes)}")
                if value not in self.axes[key]:
                    raise ValueError(f"exclude names {key} = {value!r}, which the axis does not have")
        return self


class TestTable(ImageParts, RunParts):
    """Schema of `[test]`. `release` says how tests meet a release: mounted beside it, or as a client of it."""

    __test__ = False  # not a test of pytest's

    junit: InnerPaths = ()
    """Reports the command writes."""
    inputs: InnerPaths = ()
    """Files the result depends on: a green cell whose inputs did not change is not run again."""
    timeout: Duration | None = None
    """How long a cell may take."""
    retries: Whole = 0
    """How often a red cell is tried again; green then is `flaky`."""
    release: Literal["inside", "client"] = "inside"
    """Against a release: `inside` its image, or as a `client` of its processes."""
    matrix: MatrixTable | None = None
    """The environments: every other key is an axis that overrides the variable of its name."""


def later(_label: str, _table: Model) -> str:
    """What this version can't do with it yet."""
    return "[test] is not used yet: this version has no `devbox test`; meanwhile: devbox run -- YOUR TEST COMMAND"
