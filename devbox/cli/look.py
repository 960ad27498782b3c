"""`ps`, `logs`, `open`: what runs, what it says, where it answers. Light: the state file and the log files."""

from __future__ import annotations

import os
import sys

from devbox.cli import addresses, terminal
from devbox.cli.project import Place, locate
from devbox.errors import FAILED, DevboxError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.cli.options import Args

_NAME_COLORS = ("cyan", "yellow", "green", "magenta", "blue")


def ps(args: Args) -> int:
    """List containers: a table for a person, one document with --json."""
    from devbox.cli import rows

    place = locate(args)
    found = rows.read(place)
    if place.stage and not found:
        _stage_must_be_known(args)
    if names := _named(args, place, tuple(str(row["name"]) for row in found)):
        _must_be_known(names, {str(row["name"]) for row in found}, place)
        found = [row for row in found if row["name"] in names]
    if args.flag("json"):
        sys.stdout.write(rows.document(found))
    elif found:
        from devbox.cli import table

        table.show(found, stream=sys.stdout)
    else:
        terminal.say(_nothing(place))
    if place.stage and found:
        from devbox.cli import stages

        return stages.say_drift(args)
    return 0


def _stage_must_be_known(args: Args) -> None:
    from devbox.cli import stages

    stages.must_be_known(args)


def _nothing(place: Place) -> str:
    if place.stage:
        return f"· nothing runs in {place.stage}\n  → devbox promote {place.stage}"
    return "· nothing is up\n  → devbox up"


def _named(args: Args, place: Place, known: tuple[str, ...]) -> tuple[str, ...]:
    """The containers that a person named; in a stage, the name of a process means all its replicas."""
    names = args.many("names")
    if not place.stage:
        return names
    from devbox.cli import stages

    return tuple(each for name in names for each in stages.replicas(name, known) or (name,))


def logs(args: Args) -> int:
    """Print log lines, those of several containers with their names in front."""
    if args.flag("build"):
        from devbox.cli import bakelogs

        return bakelogs.show(args)
    from devbox.isolation import logs as files

    place = locate(args)
    logged = _logged(place)
    if place.stage and not logged:
        _stage_must_be_known(args)
    names = _named(args, place, logged) or logged
    if not names:
        terminal.say(_nothing(place))
    if not set(names) <= set(logged):
        _must_be_known(names, {*logged, *_running(place)}, place)
    width = max(map(len, names), default=0)
    color = terminal.has_color(sys.stdout)
    fronts = {name: f"{_tinted(name, at, width, color=color)} | " for at, name in enumerate(names)}
    paths = {name: place.paths.log(place.id, name) for name in names}
    follow = args.flag("follow")
    for name, at, text in files.read(paths, tail=args.number("tail"), follow=follow):
        when = f"{at} " if args.flag("timestamps") else ""
        sys.stdout.write(f"{fronts[name] if len(names) > 1 else ''}{when}{text}\n")
        if follow:
            sys.stdout.flush()
    return 0


def open_url(args: Args) -> int:
    """Print where a container answers; on a desktop, show it in the browser."""
    from devbox.cli import rows

    place = locate(args)
    found = rows.read(place)
    name = args.text("container") or addresses.front({str(row["name"]): row["ports"] for row in found})
    row = next((row for row in found if row["name"] == name), None)
    if row is None and place.stage:
        _stage_must_be_known(args)
        raise DevboxError(f"{place.stage} has no address yet", remedy=f"devbox promote {place.stage}")
    if row is None:
        raise DevboxError(f"{name} is not up", remedy="devbox up", exit_code=FAILED)
    ports = [each for each in addresses.ports(row) if not addresses.is_metrics(row, each)]
    if not ports:
        raise DevboxError(f"{name} publishes no port", remedy=f"give it one in {place.env_file}: ports = [8000]")
    url = addresses.address(str(row["role"]), ports[0])
    sys.stdout.write(f"{url}\n")
    if sys.stdout.isatty():
        _show_in_browser(url)
    return 0


def _show_in_browser(url: str) -> None:
    """Hand a URL to the desktop, where there is one."""
    from devbox.errors import HostError
    from devbox.host import environ, process

    if not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        return
    try:
        process.spawn([process.find("xdg-open"), url], env=environ.snapshot(), new_session=True)
    except HostError:
        return  # the printed address is enough


def _logged(place: Place) -> tuple[str, ...]:
    """The containers that have a log, running or not."""
    try:
        entries = os.listdir(os.path.dirname(place.paths.log(place.id, "any")))
    except FileNotFoundError:
        return ()
    return tuple(sorted(entry.removesuffix(".log") for entry in entries if entry.endswith(".log")))


def _running(place: Place) -> tuple[str, ...]:
    """The containers of the state file: one that wrote nothing yet may be followed as well."""
    from devbox.cli import rows

    return tuple(str(row["name"]) for row in rows.read(place))


def _must_be_known(names: tuple[str, ...], known: set[str], place: Place) -> None:
    for name in names:
        if name not in known:
            again = f"devbox promote {place.stage}" if place.stage else "devbox up"
            shown = f"known: {', '.join(sorted(known))}" if known else f"nothing was up yet: {again}"
            raise UsageError(f"there is no container {name} of {place.root}", remedy=shown)


def _tinted(name: str, at: int, width: int, *, color: bool) -> str:
    return terminal.paint(name.ljust(width), _NAME_COLORS[at % len(_NAME_COLORS)], when=color)
