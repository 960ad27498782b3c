"""Fast path of `up`: if nothing has changed since a no-op `up`, only print its result. Light."""

from __future__ import annotations

from devbox.cli.addresses import print_addresses
from devbox.cli.locate import locate
from devbox.host import environ, files
from devbox.isolation import exec
from devbox.records.noop import NoopRecord

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.commands.table.options import Args

# Options that require more than a running instance.
_MORE = ("json", "locked", "shell_on_fail", "watch", "force_recreate", "no_deps", "dry_run", "profile")


def up(args: Args) -> int:
    """Run `up`; its modules are loaded only if there is something to do."""
    if report_if_noop(args):
        return 0
    from devbox.cli.up import up as bring_up

    return bring_up(args)


def report_if_noop(args: Args) -> bool:
    """Report a no-op; False if `up` has to observe, or another devbox holds the lock."""
    if environ.get("DEVBOX_HOOK") or any(map(args.get_flag, _MORE)) or args.get_texts("names"):
        return False
    location = locate(args)
    if not location.is_native:
        return False
    with files.lock_file(location.paths.lock(location.id), shared=True, wait=False) as free:
        found = NoopRecord.read(location.paths.noop_record(location.id)) if free else None
        if found is None:
            return False
        exec.link_agent(location.paths, location.id)
    print_addresses(args, found, idle=True)
    return True
