"""`ps`, `logs`, `open`: state, logs and addresses of containers. Light: reads the state file and log files."""

from __future__ import annotations

import datetime as dt
import os
import sys
from collections import deque

from devbox.cli import addresses, selection, terminal
from devbox.cli.locate import ProjectLocation, locate, open_from_args
from devbox.errors import FAILED, DevboxError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import TextIO

    from devbox.commands.table.options import Args

_NAME_COLORS = ("cyan", "yellow", "green", "magenta", "blue")


def ps(args: Args) -> int:
    """List containers as a table, or as one document with --json."""
    from devbox.cli import ps_rows

    location = locate(args)
    found = selection.select_rows(args, location)
    if args.get_flag("json"):
        sys.stdout.write(ps_rows.to_json(found))
    elif args.get_flag("quiet"):
        sys.stdout.writelines(f"{row['name']}\n" for row in found)
    elif found:
        show_table(found, stream=sys.stdout)
    else:
        terminal.print_line(selection.format_empty(location))
    if location.stage and found:
        from devbox.cli import stages

        return stages.print_drift(args)
    return 0


def logs(args: Args) -> int:
    """Print log lines, prefixed by name for several containers."""
    if args.get_flag("build"):
        return show_bake_logs(args)
    location = locate(args)
    logged = _list_logged(location) if location.is_native else _list_running(location)
    if location.stage and not logged:
        selection.check_stage_known(args)
    names = selection.select_names(location, args.get_texts("names"), logged) or logged
    if not names:
        terminal.print_line(selection.format_empty(location))
    if not set(names) <= set(logged):
        selection.check_known(names, {*logged, *_list_running(location)}, location)
    width = max(map(len, names), default=0)
    color = terminal.has_color(sys.stdout)
    fronts = {
        name: f"{terminal.paint(name.ljust(width), _NAME_COLORS[at % len(_NAME_COLORS)], when=color)} | "
        for at, name in enumerate(names)
    }
    follow = args.get_flag("follow")
    for name, at, text in _select_lines(args, location, names):
        when = f"{at} " if args.get_flag("timestamps") else ""
        sys.stdout.write(f"{fronts[name] if len(names) > 1 else ''}{when}{text}\n")
        if follow:
            sys.stdout.flush()
    return 0


def _select_lines(args: Args, location: ProjectLocation, names: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    """Yield the log lines that the options select."""
    follow, tail = args.get_flag("follow"), args.get_number("tail")
    if not (args.get_text("since") or args.get_text("until")):
        return _read_logs(location, names, follow=follow, tail=tail)
    from devbox.cli import log_times

    now = dt.datetime.now(dt.UTC)
    since, until = (log_times.parse_time(f"--{each}", args.get_text(each), now) for each in ("since", "until"))
    if follow and until:
        raise UsageError("--until conflicts with --follow", remedy="devbox logs -f --since 10m")
    lines = _read_logs(location, names, follow=follow, tail=tail if follow else None)
    return log_times.select_period(lines, since=since, until=until, tail=None if follow else tail)


def _read_logs(
    location: ProjectLocation, names: tuple[str, ...], *, follow: bool, tail: int | None
) -> Iterator[tuple[str, str, str]]:
    """Yield log lines: container, time, text."""
    if not location.is_native:
        from devbox.cli import engine_calls

        return engine_calls.read_logs(location, names, follow=follow, tail=tail)
    from devbox.isolation import logs as files

    return files.read({name: location.paths.log(location.id, name) for name in names}, tail=tail, follow=follow)


def open_url(args: Args) -> int:
    """Print the address of a container; on a desktop, open it in the browser."""
    from devbox.cli import ps_rows

    location = locate(args)
    found = ps_rows.read(location)
    name = args.get_text("container") or addresses.choose_container({str(row["name"]): row["ports"] for row in found})
    row = next((row for row in found if row["name"] == name), None)
    if row is None and location.stage:
        selection.check_stage_known(args)
        raise DevboxError(f"{location.stage} has no address yet", remedy=f"devbox promote {location.stage}")
    if row is None:
        raise DevboxError(f"{name} is not running", remedy="devbox up", exit_code=FAILED)
    ports = [each for each in addresses.list_ports(row) if not addresses.is_metrics(row, each)]
    if not ports:
        raise DevboxError(f"{name} publishes no port", remedy=f"add to {location.env_file}: ports = [8000]")
    url = addresses.format_address(str(row["role"]), ports[0])
    sys.stdout.write(f"{url}\n")
    if sys.stdout.isatty():
        from devbox.cli import browser

        browser.show(url)
    return 0


def _list_logged(location: ProjectLocation) -> tuple[str, ...]:
    """Return the containers with a log, running or not."""
    try:
        entries = os.listdir(os.path.dirname(location.paths.log(location.id, "any")))
    except FileNotFoundError:
        return ()
    return tuple(sorted(entry.removesuffix(".log") for entry in entries if entry.endswith(".log")))


def _list_running(location: ProjectLocation) -> tuple[str, ...]:
    """Return the containers of the state file, which includes those without output yet."""
    from devbox.cli import ps_rows

    return tuple(str(row["name"]) for row in ps_rows.read(location))


def show_bake_logs(args: Args) -> int:
    """Print the stored build logs, each below its step."""
    if any(args.get_flag(each) for each in ("follow", "timestamps", "since", "until")):
        raise UsageError(
            "--build conflicts with --follow, --timestamps, --since and --until", remedy="devbox logs --build"
        )
    from devbox.commands import images

    names, tail = args.get_texts("names"), args.get_number("tail")
    found = images.read_bake_logs(open_from_args(args), names)
    if not found:
        whose = f"of {', '.join(names)}" if names else "of this file's images"
        raise DevboxError(
            f"build log {whose} not found: not built, built by another DEVBOX_HOME, or expired",
            remedy="bake missing images with: devbox up; all images with: devbox bake",
        )
    for title, path in found.items():
        terminal.print_line(
            terminal.paint(f"==> {title}", "bold", when=terminal.has_color(sys.stdout)), stream=sys.stdout
        )
        with open(path, encoding="utf-8", errors="replace") as log:
            for line in log if tail is None else deque(log, maxlen=tail):
                sys.stdout.write(line)
    return 0


_HEAD = ("NAME", "STATE", "SINCE", "ADDRESS")
_COLORS = {
    "running": "green",
    "exited": "dim",
    "dead": "red",
    **dict.fromkeys(("starting", "restarting", "stopping"), "yellow"),
}
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def show_table(rows: Iterable[Mapping[str, object]], *, stream: TextIO) -> None:
    """Print the containers, each with its reason below, if any."""
    found = list(rows)
    now = dt.datetime.now(dt.UTC)
    cells = [_format_cells(row, now) for row in found]
    widths = [max(map(len, column)) for column in zip(_HEAD, *cells, strict=True)]
    color = terminal.has_color(stream)
    terminal.print_line(terminal.paint(_format_line(_HEAD, widths), "dim", when=color), stream=stream)
    for row, line in zip(found, cells, strict=True):
        shade = _COLORS.get(str(row["state"]), "")
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        padded[1] = terminal.paint(padded[1], "red" if row["health"] == "unhealthy" else shade, when=color)
        terminal.print_line("  ".join(padded).rstrip(), stream=stream)
        if row["reason"]:
            terminal.print_line(terminal.paint(f"  {row['reason']}", "dim", when=color), stream=stream)


def format_age(started_at: str, now: dt.datetime) -> str:
    """Format an age in the largest unit: `42 s`, `5 min`, `3 h`, `2 d`."""
    seconds = max(int((now - dt.datetime.fromisoformat(started_at)).total_seconds()), 0)
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _format_cells(row: Mapping[str, object], now: dt.datetime) -> tuple[str, str, str, str]:
    started = row["started_at"]
    return (
        str(row["name"]),
        _format_state(row),
        format_age(started, now) if isinstance(started, str) and row["pid"] else "",
        ", ".join(addresses.format_port(row, port) for port in addresses.list_ports(row)),
    )


def _format_state(row: Mapping[str, object]) -> str:
    """Format `running, healthy` · `exited 1` · `restarting, 3 restarts` · `waiting, last run exited 1` (scheduled)."""
    parts = [str(row["state"])]
    if row["state"] == "created":
        parts = ["waiting", *([f"last run exited {row['exit_code']}"] if row["exit_code"] is not None else [])]
    elif row["exit_code"] is not None and not row["pid"]:
        parts[0] += f" {row['exit_code']}"
    if row["pid"] and row["health"] != "none":
        parts.append(str(row["health"]))
    if row["restarts"]:
        parts.append(f"{row['restarts']} restart{'s' if row['restarts'] != 1 else ''}")
    return ", ".join(parts)


def _format_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
