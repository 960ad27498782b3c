"""`[tasks]`: named commands run in dev."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from devbox.model.spec import Spec, Task
from devbox.roles.fields import COMMAND_SCHEMA, Commands, InnerPaths, Model, Texts
from devbox.roles.role import ExpansionContext, TableKind


class TaskTable(Model):
    """A task: a command, or a table."""

    run: Commands
    """Command or commands; the first failure ends the task."""
    needs: Texts = ()
    """Tasks to run first, in parallel where independent."""
    inputs: InnerPaths = ()
    """Files and globs; if set, the task runs only when one has changed since its last success."""
    outputs: InnerPaths = ()
    """Files and globs created by the task; a missing one forces a run."""

    @model_validator(mode="before")
    @classmethod
    def _expand_command(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"run": [value]}
        return {"run": [value]} if isinstance(value, list) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [COMMAND_SCHEMA, handler(core_schema)]}


class TaskKind(TableKind[TaskTable]):
    """`[tasks]`, without containers of their own."""

    name = "tasks"
    table = TaskTable
    about = "Named commands, run by `devbox run NAME`."
    named = True

    def extend(self, spec: Spec, tables: Mapping[str, TaskTable], context: ExpansionContext) -> Spec:
        """Add the tasks by name."""
        names = {label: label.partition(".")[2] for label in tables}
        return replace(spec, tasks={names[label]: _expand(table, names[label]) for label, table in tables.items()})


KIND = TaskKind()


def _expand(table: TaskTable, name: str) -> Task:
    return Task(name=name, commands=table.run, needs=table.needs, inputs=table.inputs, outputs=table.outputs)
