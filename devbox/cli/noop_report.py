"""What `up` says in the end; where nothing has changed since one that had nothing to do, it is all it does. Light."""

from __future__ import annotations

from devbox.cli.addresses import print_addresses
from devbox.cli.locate import locate
from devbox.host import environ, files
from devbox.isolation import exec
from devbox.records.noop import NoopRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.commands.table.options import Args

_MORE = ("json", "locked", "shell_on_fail", "watch")  # what asks for more than to be up


def up(args: Args) -> int:
    """Run `up`; the modules that it needs are loaded only if there is something to do."""
    if report_if_noop(args):
        return 0
    from devbox.cli.up import up as bring_up

    return bring_up(args)


def report_if_noop(args: Args) -> bool:
    """Whether there is nothing to do, and it is said. False where `up` has to look, or another devbox is at work."""
    if environ.get("DEVBOX_HOOK") or any(map(args.get_flag, _MORE)) or args.get_texts("names"):
        return False
    place = locate(args)
    with files.lock_file(place.paths.lock(place.id), shared=True, wait=False) as free:
        found = NoopRecord.read(place.paths.noop_record(place.id)) if free else None
        if found is None:
            return False
        exec.link_agent(place.paths, place.id)
    print_addresses(args, found, idle=True)
    return True
