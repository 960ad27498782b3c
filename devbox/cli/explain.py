"""`plan` and `config`: what devbox would do, and how it understands the file."""

from __future__ import annotations

import json

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
    from devbox.envfile import describe
    from devbox.envfile.load import load

    if args.flag("schema"):
        print(json.dumps(describe.json_schema(), indent=2))
        return 0
    env = load(args.text("directory") or ".", file=args.text("file") or None)
    values = describe.describe(env)
    origins = describe.origins(env) if args.flag("origin") else {}
    if args.flag("json"):
        print(json.dumps({"values": values, "origins": origins} if origins else values))
    else:
        for key, value in flat(values).items():
            line = f"{key} = {json.dumps(value, ensure_ascii=False)}"
            print(f"{line}  # {origins.get(key, 'default')}" if origins else line)
    return 0


def flat(values: dict[str, object], prefix: str = "") -> dict[str, object]:
    """Nested tables by dotted key: `dev.packages` → ["less"]."""
    found: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found
