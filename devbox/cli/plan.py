"""`plan`, `config` and `why`: planned steps, the interpreted file, and reasons."""

from __future__ import annotations

import json
import sys
import textwrap

from devbox.cli import terminal
from devbox.cli.locate import open_from_args
from devbox.errors import FAILED, WOULD_CHANGE, UsageError, to_one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from devbox.commands.table.options import Args
    from devbox.model.plan import Plan, Verdict

_WIDEST = 60
_NARROWEST = 24  # minimum columns for wrapping


def plan(args: Args) -> int:
    """Print the plan of `up`; exit 3 if it has steps."""
    from devbox import flow
    from devbox.execute.grant_checks import list_new_grants
    from devbox.plan import grants

    if args.get_text("stage"):
        return _plan_stage(args)
    project = open_from_args(args)
    outcome = flow.plan(project, locked=args.get_flag("locked"))
    plan = outcome.plan
    print_plan(plan, as_json=args.get_flag("json"))
    if more := grants.describe(list_new_grants(project, outcome.resolved)):
        terminal.print_line(
            f"· up will refuse the file: it grants more than in its last isolated run: {'; '.join(more)}"
        )
        terminal.print_line("  → if you made this change, allow it: devbox trust")
    return WOULD_CHANGE if plan else 0


def _plan_stage(args: Args) -> int:
    """Print the plan of a promotion with the default release; exit 3 if it has steps. Gates are not judged."""
    from devbox.cli import output
    from devbox.commands import preview

    stage = args.get_text("stage")
    if args.get_flag("locked"):
        raise UsageError("--locked conflicts with --stage: releases are built", remedy=f"devbox plan --stage {stage}")
    found = preview.preview_promotion(open_from_args(args), stage=stage, sink=output.print_notes)
    print_plan(found.plan, as_json=args.get_flag("json"))
    if found.plan and not found.is_allowed:
        terminal.print_line(f"· promote {stage} would be denied\n  → devbox why {stage}")
    return WOULD_CHANGE if found.plan else 0


def print_plan(plan: Plan, *, as_json: bool) -> None:
    """Print the steps of a plan, or a JSON document."""
    if as_json:
        listed = [{"op": step.op, "resource": step.resource, "reason": step.reason} for step in plan.steps]
        print(json.dumps({"steps": listed}))
    else:
        width = terminal.get_width(sys.stdout) if sys.stdout.isatty() else None
        print("\n".join(format_steps(plan, width=width)))


def format_steps(plan: Plan, *, width: int | None = None) -> list[str]:
    """Format a plan: one step per line with its reason, wrapped to the terminal `width`."""
    if not plan:
        return ["nothing to do"]
    lead = max(len(step.id) for step in plan.steps) + 2
    if width is None or width - lead < _NARROWEST:
        return [f"{step.id.ljust(lead)}{to_one_line(step.reason)}" for step in plan.steps]
    return [line for step in plan.steps for line in _fold(step.id.ljust(lead), to_one_line(step.reason), width - lead)]


def _fold(lead: str, reason: str, room: int) -> list[str]:
    lines = textwrap.wrap(reason, room) or [""]
    return [f"{lead if at == 0 else ' ' * len(lead)}{line}" for at, line in enumerate(lines)]


def config(args: Args) -> int:
    """Print the interpreted file: `key = value` lines, or a JSON document."""
    from devbox.envfile import schema
    from devbox.envfile.load import load

    if args.get_flag("schema"):
        print(json.dumps(schema.build_json_schema(), indent=2))
        return 0
    env = load(args.get_text("directory") or ".", file=args.get_text("file") or None)
    if stage := args.get_text("stage"):
        if stage not in (known := env.document.order()):
            remedy = (
                f"known: {', '.join(known)}" if known else "add a table [stage.NAME]; for details: devbox docs stages"
            )
            raise UsageError(f"stage {stage} not found in {env.file}", remedy=remedy)
        env = env.select_stage(stage)
    values = schema.describe(env)
    origins = schema.list_origins(env) if args.get_flag("origin") else None
    if args.get_flag("json"):
        print(json.dumps(values if origins is None else {"values": values, "origins": origins}))
    else:
        print("\n".join(format_settings(values, origins or {})))
    return 0


def format_settings(values: Mapping[str, object], origins: Mapping[str, str]) -> list[str]:
    """Return lines such as `dev.packages = ["less"]`, with their origins if given."""
    lines = _flatten(values)
    shown = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in lines]
    if not origins:
        return shown
    width = min(max(map(len, shown), default=0), _WIDEST)
    return [f"{line.ljust(width)}  # {_find_origin(key, origins)}" for line, (key, _) in zip(shown, lines, strict=True)]


def _flatten(values: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            found += _flatten(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


def _find_origin(key: str, origins: Mapping[str, str]) -> str:
    """Return the origin of a value: its own line, else that of the surrounding table."""
    while key:
        if key in origins:
            return origins[key]
        key = key.rpartition(".")[0]
    return "default"


def why(args: Args) -> int:
    """Print the verdicts about a subject: one line each, or a JSON document."""
    from devbox.model.plan import PASS

    words = args.get_texts("subject")
    is_stage = words[:1] not in (("build",), ("image",), ("cells",))
    found = _explain(args, words)
    if args.get_flag("json"):
        sys.stdout.write(json.dumps([verdict_to_plain(verdict) for verdict in found]) + "\n")
    else:
        sys.stdout.write("".join(f"{format_verdict(verdict)}\n" for verdict in found))
        if is_stage and all(verdict.verdict == PASS for verdict in found):
            terminal.print_line(f"· nothing blocks its promotion to {words[0]}\n  → devbox promote {words[0]}")
    return FAILED if is_stage and any(verdict.verdict != PASS for verdict in found) else 0


def _explain(args: Args, words: tuple[str, ...]) -> Iterable[Verdict]:
    if words == ("build",):
        from devbox.commands import build

        return build.explain_build(open_from_args(args))
    if len(words) == len(("image", "NAME")) and words[0] == "image":
        from devbox.commands import images

        return images.explain_image(open_from_args(args), words[1])
    if words[:1] == ("cells",):
        from devbox.commands import test

        return test.explain_cells(open_from_args(args), words[1:])
    if words[:1] not in ((), ("image",), ("build",)) and len(words) <= len(("STAGE", "RELEASE")):
        from devbox.cli import output
        from devbox.commands import preview

        return preview.explain_stage(
            open_from_args(args), stage=words[0], release="".join(words[1:]), sink=output.print_notes
        )
    raise UsageError(
        "invalid arguments: expected build, image NAME, cells [NAME…] or STAGE [RELEASE]", remedy="devbox why image dev"
    )


def verdict_to_plain(verdict: Verdict) -> dict[str, str | None]:
    """Return the JSON form of a verdict."""
    return {name: getattr(verdict, name) for name in ("subject", "verdict", "reason", "opens_at")}


def format_verdict(verdict: Verdict) -> str:
    """Format a verdict: one line, and the output of a failed command."""
    from devbox.model.plan import FAIL
    from devbox.promotion.gates.context import format_time

    opens = f" (opens {format_time(verdict.opens_at)})" if verdict.opens_at else ""
    shown = f"{verdict.verdict.ljust(9)}  {verdict.subject}{f' — {verdict.reason}' if verdict.reason else ''}{opens}"
    lines = verdict.output.strip().splitlines() if verdict.verdict == FAIL else []
    return "\n".join((shown, *(f"           | {to_one_line(line)}" for line in lines if len(lines) > 1)))
