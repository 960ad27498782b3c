"""`plan` and `config`: what devbox would do, and how it understands the file."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import TYPE_CHECKING

from devbox.cli import terminal
from devbox.cli.options import Args
from devbox.cli.project import opened
from devbox.errors import WOULD_CHANGE, one_line
from devbox.opened import new_grants
from devbox.plan import grants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devbox.model.plan import Plan

_WIDEST = 60
_NARROWEST = 24  # columns that are worth folding into


def plan(args: Args) -> int:
    """Print the plan that `up` would run now; exit 3 when it has a step."""
    from devbox import flow

    project = opened(args)
    outcome = flow.plan(project, locked=args.flag("locked"))
    made = outcome.plan
    if args.flag("json"):
        listed = [{"op": step.op, "resource": step.resource, "reason": step.reason} for step in made.steps]
        print(json.dumps({"steps": listed}))
    else:
        width = terminal.width(sys.stdout) if sys.stdout.isatty() else None
        print("\n".join(steps(made, width=width)))
    if more := grants.describe(new_grants(project, outcome.resolved)):
        terminal.say(f"· up will refuse the file, which grants more than when it last ran isolated: {'; '.join(more)}")
        terminal.say("  → if you made this change, allow it: devbox trust")
    return WOULD_CHANGE if made else 0


def steps(made: Plan, *, width: int | None = None) -> list[str]:
    """A plan for a person: a step a line, with its reason; folded below itself where a terminal has a `width`."""
    if not made:
        return ["nothing to do"]
    lead = max(len(step.id) for step in made.steps) + 2
    if width is None or width - lead < _NARROWEST:
        return [f"{step.id.ljust(lead)}{one_line(step.reason)}" for step in made.steps]
    return [line for step in made.steps for line in _folded(step.id.ljust(lead), one_line(step.reason), width - lead)]


def _folded(lead: str, reason: str, room: int) -> list[str]:
    lines = textwrap.wrap(reason, room) or [""]
    return [f"{lead if at == 0 else ' ' * len(lead)}{line}" for at, line in enumerate(lines)]


def config(args: Args) -> int:
    """Print the file as it is understood: one `key = value` a line, or one JSON document."""
    from devbox.envfile import describe
    from devbox.envfile.load import load

    if args.flag("schema"):
        print(json.dumps(describe.json_schema(), indent=2))
        return 0
    env = load(args.text("directory") or ".", file=args.text("file") or None)
    values = describe.describe(env)
    origins = describe.origins(env) if args.flag("origin") else None
    if args.flag("json"):
        print(json.dumps(values if origins is None else {"values": values, "origins": origins}))
    else:
        print("\n".join(settings(values, origins or {})))
    return 0


def settings(values: Mapping[str, object], origins: Mapping[str, str]) -> list[str]:
    """`dev.packages = ["less"]` lines; where origins are known, each with the place that says so."""
    lines = _flat(values)
    shown = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in lines]
    if not origins:
        return shown
    width = min(max(map(len, shown), default=0), _WIDEST)
    return [f"{line.ljust(width)}  # {_origin(key, origins)}" for line, (key, _) in zip(shown, lines, strict=True)]


def _flat(values: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found += _flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


def _origin(key: str, origins: Mapping[str, str]) -> str:
    """Where a value came from: its own line, else that of the table around it."""
    while key:
        if key in origins:
            return origins[key]
        key = key.rpartition(".")[0]
    return "default"
