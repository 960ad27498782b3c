"""`[test]` and `[test.matrix]`: tests in all cells of a matrix."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from devbox.errors import EnvFileError
from devbox.model.container import ContainerSpec, Mount
from devbox.model.image import ImageSpec
from devbox.model.matrix import Matrix, ReadyCommands, Tests
from devbox.model.spec import Spec
from devbox.roles import containers, images
from devbox.roles.fields import (
    COMMAND_SCHEMA,
    Commands,
    Duration,
    Environment,
    InnerPaths,
    Model,
    Whole,
    build_annotations,
    describe_type,
    did_you_mean,
    parse_text,
)
from devbox.roles.parts import ImageParts, RunParts, SetupTable
from devbox.roles.role import ExpansionContext, Role

LABEL = "test"
# Idle process: the command can be retried, and a failure inspected.
_STANDING = ("sleep", "infinity")


def parse_axis(value: Any) -> tuple[str, ...]:
    """Values of an axis."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"expected a list of values, got {describe_type(value) if value != [] else 'an empty one'}")
    return tuple(parse_text(item) for item in value)


def parse_cells(value: Any) -> tuple[dict[str, str], ...]:
    """Combinations of axis values."""
    if not isinstance(value, list) or not all(isinstance(cell, dict) for cell in value):
        raise ValueError('expected a list of combinations such as [{ python = "3.14" }]')
    return tuple({key: parse_text(item) for key, item in cell.items()} for cell in value)


_AXIS = {"type": "array", "items": {"type": ["string", "integer", "boolean"]}, "minItems": 1}
_CELLS = {"type": "array", "items": {"type": "object"}}
Axis = Annotated[tuple[str, ...], *build_annotations(parse_axis, _AXIS)]
Cells = Annotated[tuple[dict[str, str], ...], *build_annotations(parse_cells, _CELLS)]


class MatrixTable(Model):
    """Schema of `[test.matrix]`. Every other key is an axis: a list of values of the variable with its name.

    Outside of cells, the variable has the value of `[vars]`, by default the first of the list.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Axis] = Field(init=False)

    include: Cells = ()
    """Additional cells; if the axis values match existing cells, adds the other variables to these instead."""
    exclude: Cells = ()
    """Cells removed from the product."""
    allow_failure: Cells = ()
    """Cells whose failure does not fail the run."""

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """Axis name → values."""
        return dict(self.__pydantic_extra__ or {})

    @model_validator(mode="after")
    def _check_exclude(self) -> MatrixTable:
        for cell in self.exclude:
            for key, value in cell.items():
                if key not in self.axes:
                    raise ValueError(f"axis {key} of exclude not found{did_you_mean(key, self.axes)}")
                if value not in self.axes[key]:
                    raise ValueError(f"value {value!r} of exclude not found in axis {key}")
        return self

    @model_validator(mode="after")
    def _check_allow_failure(self) -> MatrixTable:
        known = [*self.axes, *(key for cell in self.include for key in cell)]
        for cell in self.allow_failure:
            for key in cell:
                if key not in known:
                    raise ValueError(f"axis {key} of allow_failure not found{did_you_mean(key, known)}")
        return self

    def to_matrix(self) -> Matrix:
        """Return the matrix."""
        return Matrix(axes=self.axes, include=self.include, exclude=self.exclude, allow_failure=self.allow_failure)


class ReadyTable(Model):
    """`services_ready_from`: a command, or a table of commands and inputs."""

    run: Commands
    """Commands that prepare the started services, such as a migration; run in the container of the tests."""
    inputs: InnerPaths = ()
    """Input files (default: those of the tests)."""

    @model_validator(mode="before")
    @classmethod
    def _expand_commands(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"run": [value]}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [*COMMAND_SCHEMA["oneOf"], handler(core_schema)]}


class TestTable(ImageParts, RunParts):
    """Schema of `[test]`. Each cell of the matrix runs the command in its own container.

    Its changes to the project are private to the cell, and so are its services.
    """

    __test__ = False  # not a pytest test class

    setup: SetupTable | None = None
    """Setup of a cell's new container (default with `from = "dev"`: dev's setup)."""
    junit: InnerPaths = ()
    """Globs of JUnit reports written by the command."""
    coverage: InnerPaths = ()
    """Globs of coverage files to collect."""
    inputs: InnerPaths = ()
    """Input files; a passed cell reruns only after a change (default: all files not ignored by git)."""
    services_ready_from: ReadyTable | None = None
    """Preparation of services, such as a migration; it runs once, and each cell starts from a copy of the data."""
    timeout: Duration | None = None
    """Time limit of a cell."""
    retries: Whole = 0
    """Number of retries of a failed cell; a later success is `flaky`."""
    fail_fast: bool = False
    """Start no further cells after a failure."""
    release: Literal["inside", "client"] = "inside"
    """Test of a release: `inside` its image, or as a `client` of its processes."""
    release_env: Environment = {}
    """Additional variables for tests of a release; `inside` has the tests' image at /run/devbox/tests."""
    matrix: MatrixTable | None = None
    """Test matrix."""


class TestRole(Role[TestTable]):
    """`[test]`, run by `devbox test`."""

    __test__ = False  # not a pytest test class

    name = LABEL
    table = TestTable
    about = "Tests and their environments."

    def image(self, table: TestTable, label: str, context: ExpansionContext) -> ImageSpec:
        """Return the image of the tests."""
        return images.build_image(table, label, context)

    def extend(self, spec: Spec, tables: Mapping[str, TestTable], context: ExpansionContext) -> Spec:
        """Add the tests, if the table has a command."""
        table = tables.get(LABEL)
        return dataclasses.replace(spec, tests=expand(table, context)) if table and table.command else spec


ROLE = TestRole()


def expand(table: TestTable, context: ExpansionContext) -> Tests:
    """Return the tests: container, command and cells."""
    if not table.command:
        raise EnvFileError("missing command in [test]", where=context.where((LABEL,)), remedy='set command = "pytest"')
    own = table.setup.to_setup(context.where((LABEL, "setup"))) if table.setup else None
    inherited = context.setup(context.images[table.from_]) if table.from_ and not table.setup else None
    container = ContainerSpec(
        name=context.names[LABEL],
        label=LABEL,
        role=LABEL,
        image=LABEL,
        command=_STANDING,
        env=containers.build_environment(table, context),
        secrets=table.secrets,
        user=table.user or context.image(LABEL).config.user,
        workdir=table.workdir or context.workspace,
        mounts=_build_mounts(table, context),
        needs=containers.list_needed(table, LABEL, context),
        restart="no",
        stop_signal="KILL",
        limits=table.limits.to_limits(),
        isolation=table.isolation.to_isolation(),
        setup=own or inherited,
        keep_top=True,
        where=context.where((LABEL,)),
    )
    ready = table.services_ready_from
    return Tests(
        container=container,
        command=table.command,
        junit=table.junit,
        coverage=table.coverage,
        inputs=table.inputs,
        timeout=table.timeout,
        retries=table.retries,
        fail_fast=table.fail_fast,
        ready=ReadyCommands(commands=ready.run, inputs=ready.inputs) if ready else None,
        release=table.release,
        release_env=table.release_env,
        matrix=table.matrix.to_matrix() if table.matrix else Matrix(),
    )


def _build_mounts(table: TestTable, context: ExpansionContext) -> tuple[Mount, ...]:
    """Return the project and the download caches as private copies, and the table's own mounts."""
    caches = images.COMMAND_CACHES.items()
    shared = [
        Mount(kind="workspace", source=context.root, target=context.workspace, private=True),
        *(Mount(kind="cache", source=name, target=path, private=True) for name, path in caches),
    ]
    own = [
        dataclasses.replace(mount, private=mount.kind == "bind") for mount in containers.build_mounts(table, context)
    ]
    taken = {mount.target for mount in own}
    return (*(mount for mount in shared if mount.target not in taken), *own)
