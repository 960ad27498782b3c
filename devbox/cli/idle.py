"""What `up` says in the end; where nothing has changed since one that had nothing to do, it is all it does. Light."""

from __future__ import annotations

import sys

from devbox.cli.project import locate
from devbox.cli.terminal import say
from devbox.host import environ, files
from devbox.isolation.inside import agent
from devbox.records.idle import Idle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.cli.options import Args

_MORE = ("json", "locked", "shell_on_fail", "watch")  # what asks for more than to be up


def told(args: Args) -> bool:
    """Whether there is nothing to do, and it is said. False where `up` has to look, or another devbox is at work."""
    if environ.get("DEVBOX_HOOK") or any(map(args.flag, _MORE)) or args.many("names"):
        return False
    place = locate(args)
    with files.locked(place.paths.lock(place.id), shared=True, wait=False) as free:
        found = Idle.read(place.paths.idle(place.id)) if free else None
        if found is None:
            return False
        agent.follow(place.paths, place.id)
    tell(args, found, idle=True)
    return True


def tell(args: Args, found: Idle, *, idle: bool) -> None:
    """The addresses on stdout; what to try next, and whether there was nothing to do, for a person."""
    loud = args.text("progress") not in ("quiet", "json")
    if loud and idle:
        say("· nothing to do: everything is up as the file says")
    for line in found.addresses:
        say(line, stream=sys.stdout)
    if loud:
        say(f"  → {_hint(args, found.shell)}")


def _hint(args: Args, container: str) -> str:
    """What to try next, as it works from where the person is."""
    devbox = "devbox"
    if place := args.text("directory"):
        import shlex

        devbox += f" -C {shlex.quote(place)}"
    shell = "shell" if container == "dev" else f"shell {container}".strip()
    return " · ".join(f"{devbox} {words}" for words in (shell, "logs -f", "ps", "down"))
