"""`trust`: what the file wants of this machine beside containers, shown and allowed, once until it changes."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from devbox import flow
from devbox.cli.project import locate, opened
from devbox.cli.terminal import say
from devbox.envfile import hostaccess
from devbox.errors import UsageError
from devbox.model.resolved import GATE, HOOKS, METRIC, SHELL
from devbox.opened import accept_grants, load, new_grants, new_release_grants
from devbox.plan.grants import describe
from devbox.records.trust import TrustRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devbox.cli.options import Args
    from devbox.model.grant import Grant
    from devbox.model.resolved import HostAccess, Resolved
    from devbox.opened import Project


def trust(args: Args) -> int:
    """Allow what the file wants (printed as data), or only show it, or take the permission back."""
    if args.flag("show") and args.flag("revoke"):
        raise UsageError("--show and --revoke exclude each other", remedy="devbox trust --show")
    if args.flag("revoke"):
        place = locate(args)  # works with a broken file
        gone = TrustRecord(place.paths, place.id).revoke()
        say("· no longer allowed" if gone else "· nothing was allowed")
        return 0
    project = opened(args)
    record, wanted = TrustRecord(project.paths, project.id), flow.host_access(project)
    shell, install, stages = flow.shell_access(project), flow.install_access(project), flow.stage_access(project)
    resolved = load(project)
    more = _new_grants(project, resolved)
    if not args.flag("show"):
        record.allow(wanted, shell=shell, install=install, stages=stages)
        accept_grants(project, resolved)
    lasting = record.covers(wanted) and record.installs(install) and record.promotes(stages)
    allowed = lasting and (not shell or record.activates(shell)) and not _new_grants(project, resolved)
    _print((*wanted, *install, *stages, *shell), more, allowed=allowed, as_json=args.flag("json"))
    return 0


def _new_grants(project: Project, resolved: Resolved) -> tuple[Grant, ...]:
    return tuple(dict.fromkeys((*new_grants(project, resolved), *new_release_grants(project, resolved))))


def _print(wanted: Sequence[HostAccess], more: Sequence[Grant], *, allowed: bool, as_json: bool) -> None:
    if as_json:
        listed = [{**_plain(access), "allowed": allowed} for access in wanted]
        listed += [{**_plain(_as_access(grant)), "allowed": allowed} for grant in more]
        sys.stdout.write(json.dumps(listed) + "\n")
        return
    for access in wanted:
        say(f"{access.where}: {_what(access)}", stream=sys.stdout)
    for line in describe(more):
        say(f"new since the file last ran isolated: {line}", stream=sys.stdout)
    if not wanted and not more:
        say("· the file wants nothing of this machine: there is nothing to allow")
    elif allowed:
        say("· allowed until one of these changes\n  → devbox up · devbox trust --revoke")
    else:
        say("· not allowed yet\n  → devbox trust")


def _what(access: HostAccess) -> str:
    if access.container == HOOKS:
        return f"when it was {access.variable}, this machine runs: {access.reference.partition(':')[2]}"
    if access.container == SHELL:
        kind, _, value = access.reference.partition(":")
        what = f"the commands {value} on PATH" if kind == "tools" else f"{access.variable} of {value}"
        return f"your shell gets {what} in this project, with `devbox hook`"
    if access.variable in (GATE, METRIC):
        return f"a {access.variable} of {access.container} asks this machine: {hostaccess.written(access)}"
    kind, _, path = access.reference.partition(":")
    if kind == "image":
        return f"{access.container} puts {path} of its image onto this machine, at {access.variable}"
    return f"{access.container} gets {access.variable} from {access.reference}{_target(access)}"


def _target(access: HostAccess) -> str:
    """Where a file lies that is not written as its own full path."""
    return f" ({access.path})" if access.path not in ("", access.reference.partition(":")[2]) else ""


def _as_access(grant: Grant) -> HostAccess:
    """A grant in the form in which `trust --json` lists what is allowed."""
    from devbox.model.resolved import HostAccess

    return HostAccess(container=grant.subject, variable=grant.kind, reference=grant.value, where=grant.where)


def _plain(access: HostAccess) -> dict[str, str]:
    return {
        "container": access.container,
        "variable": access.variable,
        "reference": access.reference,
        "where": access.where,
        "path": access.path,
    }
