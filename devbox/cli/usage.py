"""`top` and `stats`: processes, CPU and memory of running containers."""

from __future__ import annotations

import pwd
import sys
import time

from devbox.cli import output, selection
from devbox.cli.locate import locate
from devbox.host.disk import format_size
from devbox.isolation import usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from devbox.commands.table.options import Args
    from devbox.isolation.usage import ProcessUsage

_INTERVAL = 1.0
_HOME_AND_CLEAR = "\x1b[H\x1b[J"


def top(args: Args) -> int:
    """List the processes of containers."""
    found = usage.list_processes(pids := selection.select_running(args, locate(args)))
    if args.get_flag("json"):
        return output.print_document(
            [{"container": pids[init], **each._asdict()} for init, processes in found.items() for each in processes]
        )
    rows = [
        (
            pids[init],
            str(each.pid),
            str(each.host_pid),
            _find_user(each.uid),
            f"{each.cpu:.1f} s",
            format_size(each.memory),
            each.command,
        )
        for init, processes in found.items()
        for each in processes
    ]
    output.print_table(("CONTAINER", "PID", "HOST PID", "HOST USER", "CPU", "MEMORY", "COMMAND"), rows)
    return 0


def stats(args: Args) -> int:
    """Show CPU and memory of containers: on a terminal again every second, until Ctrl-C."""
    live = sys.stdout.isatty() and not args.get_flag("no_stream") and not args.get_flag("json")
    location = locate(args)
    before, since = usage.list_processes(selection.select_running(args, location)), time.monotonic()
    while True:
        time.sleep(_INTERVAL)
        names = selection.select_running(args, location)
        now, at = usage.list_processes(names), time.monotonic()
        rows = [_measure(names[init], before.get(init, []), now[init], at - since) for init in now]
        if args.get_flag("json"):
            return output.print_document(rows)
        if live:
            sys.stdout.write(_HOME_AND_CLEAR)
        output.print_table(("CONTAINER", "CPU", "MEMORY", "PROCESSES", "THREADS"), [_format(row) for row in rows])
        sys.stdout.flush()
        if not live:
            return 0
        before, since = now, at


def _measure(
    name: str, before: list[ProcessUsage], now: list[ProcessUsage], seconds: float
) -> dict[str, str | int | float]:
    """Return the usage of a container over a time; `cpu_percent` of one core."""
    known = {each.host_pid: each.cpu for each in before}
    used = sum(each.cpu - known.get(each.host_pid, 0.0 if known else each.cpu) for each in now)
    return {
        "container": name,
        "cpu_percent": round(100 * max(used, 0.0) / seconds, 1),
        "memory": sum(each.memory for each in now),
        "processes": len(now),
        "threads": sum(each.threads for each in now),
    }


def _format(row: Mapping[str, str | int | float]) -> tuple[str, ...]:
    return (
        str(row["container"]),
        f"{row['cpu_percent']} %",
        format_size(float(row["memory"])),
        str(row["processes"]),
        str(row["threads"]),
    )


def _find_user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
