"""`ls`: every project, stage and test cell with running containers on this host."""

from __future__ import annotations

import datetime as dt

from devbox.cli import output, ps, terminal
from devbox.doctor import leftovers
from devbox.errors import EngineError
from devbox.host.disk import format_size
from devbox.host.paths import Paths, get_default_paths
from devbox.isolation import state, usage
from devbox.records.tests import MatrixRecords

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from devbox.commands.table.options import Args
    from devbox.doctor.leftovers import KnownInstance
    from devbox.isolation.state import InstanceState
    from devbox.isolation.usage import ProcessUsage

    Row = dict[str, object]


def ls(args: Args) -> int:
    """List what runs on this host, also of other projects; with --all, also stopped projects."""
    paths = get_default_paths()
    instances = leftovers.list_instances(paths)
    cells = _find_cells(paths, instances)
    states = {each.id: _read_state(paths, each.id) for each in instances}
    pids = [row.process.pid for now in states.values() if now for row in now.containers if row.process]
    processes = usage.list_processes(pids)
    rows = [_measure(each, states[each.id], cells.get(each.id, ""), processes) for each in instances]
    if not args.get_flag("all"):
        rows = [row for row in rows if row["running"]]
    rows.sort(key=lambda row: (str(row["project"]), str(row["stage"]), str(row["cell"])))
    if args.get_flag("json"):
        return output.print_document(rows)
    if not rows:
        terminal.print_line("· nothing is running on this host\n  → devbox up")
        return 0
    now = dt.datetime.now(dt.UTC)
    output.print_table(("PROJECT", "ENVIRONMENT", "SINCE", "MEMORY", "RUNNING"), [_format(row, now) for row in rows])
    return 0


def _find_cells(paths: Paths, instances: Iterable[KnownInstance]) -> dict[str, str]:
    """Return the names of test cells that were not removed, by instance ID."""
    found: dict[str, str] = {}
    for each in instances:
        for released in (False, True):
            records = MatrixRecords(paths, each.id, released=released)
            found |= {cell: records.find_name(cell) or cell for cell in records.list_standing()}
    return found


def _read_state(paths: Paths, instance: str) -> InstanceState | None:
    """Return the state of an instance; None if it is damaged, which `doctor` reports."""
    try:
        return state.observe_state(paths, instance)[1]
    except EngineError:
        return None


def _measure(
    instance: KnownInstance, now: InstanceState | None, cell: str, processes: dict[int, list[ProcessUsage]]
) -> Row:
    """Return the row of an instance. `processes`: by the pid of their container's pid 1."""
    running = [row for row in now.containers if row.process] if now else []
    own = [each for row in running if row.process for each in processes[row.process.pid]]
    return {
        "id": instance.id,
        "project": instance.root,
        "file": instance.env_file,
        "stage": instance.stage,
        "cell": cell,
        "running": [row.name for row in running],
        "since": min((row.started_at for row in running if row.started_at), default=None),
        "memory": sum(each.memory for each in own),
    }


def _format(row: Row, now: dt.datetime) -> tuple[str, ...]:
    since, running = row["since"], row["running"]
    return (
        str(row["project"] or "(unknown)"),
        f"stage {row['stage']}" if row["stage"] else f"cell {row['cell']}" if row["cell"] else "dev",
        ps.format_age(since, now) if isinstance(since, str) else "",
        format_size(float(str(row["memory"]))) if running else "",
        ", ".join(running) if isinstance(running, list) else "",
    )
