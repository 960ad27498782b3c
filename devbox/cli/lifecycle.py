"""`stop`, `restart`, `port`, `wait` and `events`: existing containers of the project or a stage."""

from __future__ import annotations

import json
import sys
import time

from devbox.cli import addresses, ps_rows, selection
from devbox.cli.locate import locate, open_from_args
from devbox.cli.terminal import print_line
from devbox.errors import CANNOT_RUN, DevboxError, UsageError
from devbox.isolation.logs import format_timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from devbox.commands.table.options import Args
    from devbox.model.plan import Plan

    Row = Mapping[str, object]

_PAUSE = 0.1
_WATCHED = ("state", "health", "restarts", "exit_code", "pid")
_ENDED = ("exited", "dead")


def port(args: Args) -> int:
    """Print the published ports of containers; with CONTAINER PORT, only the address of this port."""
    name, number, *more = (*args.get_texts("words"), "", "")
    if any(more):
        raise UsageError(f'unexpected argument "{more[0]}"', remedy="devbox port CONTAINER PORT")
    rows = selection.select_rows(args, locate(args), (name,) if name else ())
    found = [(str(row["name"]), each) for row in rows for each in addresses.list_ports(row)]
    if number:
        inside, _, protocol = number.partition("/")
        found = [(own, each) for own, each in found if _matches(each, inside, protocol)]
        if not found:
            raise DevboxError(f"{name} does not publish port {number}", remedy=f"devbox port {name}")
    if args.get_flag("json"):
        sys.stdout.write(f"{json.dumps([{'name': own, **each} for own, each in found])}\n")
        return 0
    for own, each in found:
        address = addresses.format_socket(each)
        front = "" if number else f"{own} {each['container']}/{each['protocol']} -> "
        sys.stdout.write(f"{front}{address}\n")
    return 0


def _matches(published: Mapping[str, object], number: str, protocol: str) -> bool:
    return str(published["container"]) == number and protocol in ("", published["protocol"])


def wait(args: Args) -> int:
    """Wait until the containers have exited; print their exit codes and return that of the first one that failed."""
    location = locate(args)
    if not args.get_texts("names"):
        raise UsageError("missing argument: NAME", remedy="devbox wait NAME")
    names = [str(row["name"]) for row in selection.select_rows(args, location)]
    codes: dict[str, int] = {}
    while len(codes) < len(names):
        rows = {str(row["name"]): row for row in ps_rows.read(location)}
        for name in names:
            if name not in codes and (code := _find_exit_code(rows.get(name))) is not None:
                codes[name] = code
                sys.stdout.write(f"{name} {code}\n" if len(names) > 1 else f"{code}\n")
                sys.stdout.flush()
        if len(codes) < len(names):
            time.sleep(_PAUSE)
    return next((codes[name] for name in names if codes[name]), 0)


def _find_exit_code(row: Row | None) -> int | None:
    """Return the exit code of a container that has ended or was removed; None while it runs."""
    if row is None:
        return CANNOT_RUN
    if row["state"] not in _ENDED or row["pid"]:
        return None
    return row["exit_code"] if isinstance(row["exit_code"], int) else CANNOT_RUN


def events(args: Args) -> int:
    """Print state changes of containers as they happen, until Ctrl-C."""
    location, names = locate(args), args.get_texts("names")
    before = {str(row["name"]): row for row in ps_rows.read(location)}
    selection.check_known(names, set(before), location)
    while True:
        time.sleep(_PAUSE)
        now = {str(row["name"]): row for row in ps_rows.read(location)}
        for name in sorted({*before, *now} & set(names or (*before, *now))):
            if event := _describe_change(before.get(name), now.get(name)):
                _print_event(args, name, event, now.get(name))
        before = now


def _describe_change(before: Row | None, now: Row | None) -> str:
    """Return what happened to a container between two observations; "" for nothing."""
    if now is None or before is None:
        return "removed" if now is None else str(now["state"])
    if all(before[name] == now[name] for name in _WATCHED):
        return ""
    if before["state"] == now["state"] and before["pid"] == now["pid"] and before["health"] != now["health"]:
        return str(now["health"])
    return f"{now['state']} {now['exit_code']}" if now["state"] == "exited" else str(now["state"])


def _print_event(args: Args, name: str, event: str, row: Row | None) -> None:
    at = format_timestamp(time.time())
    if args.get_flag("json"):
        sys.stdout.write(json.dumps({"at": at, "container": name, "event": event, "now": row}) + "\n")
    else:
        sys.stdout.write(f"{at} {name} {event}\n")
    sys.stdout.flush()


def stop(args: Args) -> int:
    """Stop containers of the project or a stage, all or some; `up` or `promote` starts them again."""
    return _operate(args, restarts=False)


def restart(args: Args) -> int:
    """Stop and start containers, all or some; those of a stage one at a time."""
    return _operate(args, restarts=True)


def _operate(args: Args, *, restarts: bool) -> int:
    from devbox import flow
    from devbox.cli.display.select import choose

    if args.get_text("stage"):
        planned = _operate_stage(args, restarts=restarts)
    else:
        with choose(args.get_text("progress")) as display:
            verb = flow.restart if restarts else flow.stop
            planned = verb(open_from_args(args), display, names=args.get_texts("names"))
    if not planned and args.get_text("progress") not in ("quiet", "json"):
        print_line(f"· nothing to {'restart' if restarts else 'stop'}")
    return 0


def _operate_stage(args: Args, *, restarts: bool) -> Plan:
    from devbox.cli.display.select import choose
    from devbox.deploy import operations
    from devbox.deploy.targets.local import LocalTarget

    location = locate(args)
    rows = selection.select_rows(args, location)
    if not rows:
        raise UsageError(f"nothing runs in {location.stage}", remedy=f"devbox promote {location.stage}")
    names = tuple(str(row["name"]) for row in rows) if args.get_texts("names") else ()
    target = LocalTarget(open_from_args(args), location.stage)
    with choose(args.get_text("progress")) as display:
        return (operations.restart if restarts else operations.stop)(target, display, names=names)
