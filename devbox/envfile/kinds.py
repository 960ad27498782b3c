"""How the kinds of value are called in the reference of the env file, and what each means: its parser says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import PlainValidator
from pydantic.fields import FieldInfo

from devbox.envfile import document, metrics, stages
from devbox.roles import fields, glue, install, network, release, test, watching
from devbox.roles.fields import Model

# What each parser reads, in the words of the reference.
KINDS: dict[Callable[..., Any], str] = {
    fields.parse_text: "string",
    fields.parse_strings: "list of strings",
    fields.parse_text_table: "table of strings",
    fields.parse_environment: "variables",
    fields.parse_secrets: "secrets",
    fields.parse_command: "command",
    fields.parse_commands: "commands",
    fields.parse_duration: "duration",
    fields.parse_size: "size",
    fields.parse_whole: "whole number",
    fields.parse_number: "number",
    fields.parse_signal: "signal",
    fields.parse_path: "absolute path",
    fields.parse_user: "user",
    fields.parse_packages: "packages",
    fields.parse_inner_path: "project path",
    fields.parse_inner_paths: "project paths",
    fields.parse_capabilities: "capabilities",
    fields.parse_egress: "host names",
    fields.parse_named_paths: "named paths",
    network.parse_ports: "ports",
    network.parse_needs: "needs",
    watching.parse_action: "action",
    test.parse_axis: "axis",
    test.parse_cells: "cells",
    glue.parse_routes: "routes",
    glue.parse_schedule: "schedule",
    install.parse_installed: "files",
    release.parse_copies: "copies",
    stages.parse_external: "external needs",
    stages.parse_cohort: "cohort",
    metrics.parse_reference: "reference",
    document.parse_project_name: "project name",
    document.parse_requires: "version bounds",
}


def kind_of(info: FieldInfo, link: Callable[[type[Model]], str]) -> str:
    """What may be written for a key. `link` leads to a table's section."""
    return _kind(Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation, link)


def default_of(info: FieldInfo, kind: str) -> str:
    """What counts where the key is left out; "" where that is nothing worth telling."""
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True, validated_data={})
    if value in (None, "", (), {}) or isinstance(value, Model):
        return ""
    if kind == "duration":
        return f'default `"{value:g}s"`'
    return f"default `{json.dumps(value)}`"


def _kind(annotation: Any, link: Callable[[type[Model]], str]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        named = [KINDS[each.func] for each in arguments[1:] if isinstance(each, PlainValidator)]
        return named[0] if named else _kind(arguments[0], link)
    if origin in (tuple, dict):
        whole = "list" if origin is tuple else "table"
        return f"{whole} of {_plural(_kind(arguments[0 if origin is tuple else 1], link))}"
    if arguments:
        each = (
            f"`{json.dumps(one)}`" if origin is Literal else _kind(one, link)
            for one in arguments
            if one is not NoneType
        )
        return " or ".join(each)
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return link(annotation)
    return {bool: "`true` or `false`", str: "string"}[annotation]


def _plural(kind: str) -> str:
    return kind if kind.endswith((")", "s")) else f"{kind}s"
