"""`plan` and `config`: what devbox would do, and how it understands the file."""

from __future__ import annotations

import json
import sys

from devbox.cli.options import Args
from devbox.cli.project import opened
from devbox.errors import WOULD_CHANGE


def plan(args: Args) -> int:
    """Print the plan that `up` would run now; exit 3 when it has a step."""
    from devbox import flow

    made = flow.plan(opened(args)).plan
    if args.flag("json"):
        steps = [{"op": step.op, "resource": step.resource, "reason": step.reason} for step in made.steps]
        print(json.dumps({"steps": steps}))
    elif made:
        width = max(len(step.id) for step in made.steps)
        print("\n".join(f"{step.id.ljust(width)}  {step.reason}" for step in made.steps))
    else:
        print("nothing to do")
    return WOULD_CHANGE if made else 0


def config(args: Args) -> int:
    """Print the file as it is understood: one `key = value` a line, or one JSON document."""
    from devbox.envfile import load

    if args.flag("schema"):
        print(json.dumps(load.json_schema(), indent=2))
        return 0
    env = load.load(args.text("directory") or ".", file=args.text("file") or None)
    values = load.describe(env, origin=args.flag("origin"))
    if args.flag("json"):
        print(json.dumps(values))
    else:
        sys.stdout.writelines(f"{line}\n" for line in flat(values))
    return 0


def flat(values: dict[str, object], prefix: str = "") -> list[str]:
    """Nested tables as `dev.packages = ["less"]` lines."""
    found: list[str] = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found += flat(value, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key} = {json.dumps(value, ensure_ascii=False)}")
    return found
