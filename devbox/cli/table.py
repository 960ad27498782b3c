"""The table of `ps` for a person: aligned, times in words, colour only where it shows."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from devbox.cli import addresses, terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import TextIO

_HEAD = ("NAME", "STATE", "SINCE", "ADDRESS")
_COLORS = {
    "running": "green",
    "exited": "dim",
    "dead": "red",
    **dict.fromkeys(("starting", "restarting", "stopping"), "yellow"),
}
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def show(rows: Iterable[Mapping[str, object]], *, stream: TextIO) -> None:
    """Print the containers, a reason below those that have one."""
    found = list(rows)
    now = dt.datetime.now(dt.UTC)
    cells = [_cells(row, now) for row in found]
    widths = [max(map(len, column)) for column in zip(_HEAD, *cells, strict=True)]
    color = terminal.has_color(stream)
    terminal.say(terminal.paint(_line(_HEAD, widths), "dim", when=color), stream=stream)
    for row, line in zip(found, cells, strict=True):
        shade = _COLORS.get(str(row["state"]), "")
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        padded[1] = terminal.paint(padded[1], _shade(row, shade), when=color)
        terminal.say("  ".join(padded).rstrip(), stream=stream)
        if row["reason"]:
            terminal.say(terminal.paint(f"  {row['reason']}", "dim", when=color), stream=stream)


def since(started_at: str, now: dt.datetime) -> str:
    """How long ago, in the largest unit that fits: `42 s`, `5 min`, `3 h`, `2 d`."""
    seconds = max(int((now - dt.datetime.fromisoformat(started_at)).total_seconds()), 0)
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _cells(row: Mapping[str, object], now: dt.datetime) -> tuple[str, str, str, str]:
    started = row["started_at"]
    return (
        str(row["name"]),
        _state(row),
        since(started, now) if isinstance(started, str) and row["pid"] else "",
        ", ".join(addresses.shown(row, port) for port in addresses.ports(row)),
    )


def _state(row: Mapping[str, object]) -> str:
    """`running, healthy` · `exited 1` · `restarting, 3 restarts` · `waiting, last run exited 1` of a scheduled job."""
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


def _shade(row: Mapping[str, object], shade: str) -> str:
    return "red" if row["health"] == "unhealthy" else shade


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
