"""`[tasks]`: named commands that run in dev."""

from __future__ import annotations

import shlex
from typing import Any

from pydantic import GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from devbox.model.resolved import Task
from devbox.roles.fields import COMMAND_SCHEMA, CommandItem, Commands, InnerPaths, Model, Texts


class TaskTable(Model):
    """A task: a command, or a table. `needs` are tasks that run first."""

    run: Commands
    """The command or commands; the first that fails ends the task."""
    needs: Texts = ()
    """Tasks that run first."""
    inputs: InnerPaths = ()
    """Files the task depends on; only documentation in this version."""

    @model_validator(mode="before")
    @classmethod
    def _command_alone(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"run": [value]}
        return {"run": [value]} if isinstance(value, list) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [COMMAND_SCHEMA, handler(core_schema)]}


def expand(table: TaskTable, name: str) -> Task:
    """The task, its commands made one."""
    return Task(name=name, command=_joined(table.run), needs=table.needs)


def _joined(commands: tuple[CommandItem, ...]) -> tuple[str, ...]:
    """One argv; several commands become a shell's list that stops at the first failure."""
    argvs = [("/bin/sh", "-c", item) if isinstance(item, str) else item for item in commands]
    return argvs[0] if len(argvs) == 1 else ("/bin/sh", "-c", " && ".join(shlex.join(argv) for argv in argvs))
