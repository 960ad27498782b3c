"""Containers that a command line names, in the project or in a stage of it. Light."""

from __future__ import annotations

from devbox.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.cli.locate import ProjectLocation
    from devbox.commands.table.options import Args


def select_rows(args: Args, location: ProjectLocation, names: tuple[str, ...] | None = None) -> list[dict[str, object]]:
    """Return the rows of these containers (default: those of `args`, or all), running or not.

    UsageError for an unknown name.
    """
    from devbox.cli import ps_rows

    found = ps_rows.read(location)
    if location.stage and not found:
        check_stage_known(args)
    named = args.get_texts("names") if names is None else names
    if names := select_names(location, named, tuple(str(row["name"]) for row in found)):
        check_known(names, {str(row["name"]) for row in found}, location)
        found = [row for row in found if row["name"] in names]
    return found


def select_running(args: Args, location: ProjectLocation) -> dict[int, str]:
    """Return the named containers that run (default: all), by the host pid of their pid 1. UsageError for none."""
    found = {int(str(row["pid"])): str(row["name"]) for row in select_rows(args, location) if row["pid"]}
    if not found:
        names = args.get_texts("names")
        again = f"devbox promote {location.stage}" if location.stage else f"devbox up {' '.join(names)}".strip()
        raise UsageError(f"{', '.join(names) or 'nothing'} is {'not ' if names else ''}running", remedy=again)
    return found


def select_names(location: ProjectLocation, names: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """Return the containers of these names; in a stage, the name of a process selects all its replicas."""
    if not location.stage:
        return names
    from devbox.cli import stages

    return tuple(each for name in names for each in stages.find_replicas(name, known) or (name,))


def check_known(names: tuple[str, ...], known: set[str], location: ProjectLocation) -> None:
    """Raise UsageError for a name that is not `known`."""
    for name in names:
        if name not in known:
            again = f"devbox promote {location.stage}" if location.stage else "devbox up"
            shown = f"known: {', '.join(sorted(known))}" if known else f"start them with: {again}"
            raise UsageError(f"container {name} not found in {location.root}", remedy=shown)


def check_stage_known(args: Args) -> None:
    """Raise UsageError unless the stage is in the file and has its own environment."""
    from devbox.cli import stages

    stages.check_known(args)


def format_empty(location: ProjectLocation) -> str:
    """Return the message for an environment without containers."""
    if location.stage:
        return f"· nothing runs in {location.stage}\n  → devbox promote {location.stage}"
    return "· nothing is up\n  → devbox up"
