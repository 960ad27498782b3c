"""`trust`: shows and allows the file's host access beyond containers, once until it changes."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from devbox import flow
from devbox.cli.locate import locate, open_from_args
from devbox.cli.terminal import print_line
from devbox.commands.trust import accept_grants
from devbox.envfile import host_access
from devbox.errors import UsageError
from devbox.execute.grant_checks import list_new_grants, list_new_release_grants
from devbox.model.host_access import (
    AccessRecord,
    GateAccess,
    HookAccess,
    InstallAccess,
    MetricAccess,
    SecretAccess,
    ShellToolsAccess,
    ShellVariableAccess,
)
from devbox.plan.grants import describe
from devbox.project import prepare
from devbox.records.trust import TrustRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devbox.commands.table.options import Args
    from devbox.model.container import Grant
    from devbox.model.host_access import HostAccess
    from devbox.model.spec import Spec
    from devbox.project import Project


def trust(args: Args) -> int:
    """Allow the host access of the file (data), show it, or revoke the permission."""
    if args.get_flag("show") and args.get_flag("revoke"):
        raise UsageError("--show conflicts with --revoke", remedy="devbox trust --show")
    if args.get_flag("revoke"):
        location = locate(args)  # works with an invalid file
        gone = TrustRecord(location.paths, location.id).revoke()
        print_line("· no longer allowed" if gone else "· nothing was allowed")
        return 0
    project = open_from_args(args)
    record, required = TrustRecord(project.paths, project.id), flow.list_host_access(project)
    shell, install, stages = (
        flow.list_shell_access(project),
        flow.list_install_access(project),
        flow.list_stage_access(project),
    )
    desired = prepare(project)
    more = _list_new_grants(project, desired)
    if not args.get_flag("show"):
        record.allow(required, shell=shell, install=install, stages=stages)
        accept_grants(project, desired)
    lasting = record.covers(required) and record.covers_install(install) and record.covers_stages(stages)
    allowed = lasting and (not shell or record.covers_shell(shell)) and not _list_new_grants(project, desired)
    _print((*required, *install, *stages, *shell), more, allowed=allowed, as_json=args.get_flag("json"))
    return 0


def _list_new_grants(project: Project, spec: Spec) -> tuple[Grant, ...]:
    return tuple(dict.fromkeys((*list_new_grants(project, spec), *list_new_release_grants(project, spec))))


def _print(desired: Sequence[HostAccess], more: Sequence[Grant], *, allowed: bool, as_json: bool) -> None:
    if as_json:
        listed = [{**_to_plain(access.record(), access.where), "allowed": allowed} for access in desired]
        listed += [
            {**_to_plain(AccessRecord(grant.subject, grant.kind, grant.value), grant.where), "allowed": allowed}
            for grant in more
        ]
        sys.stdout.write(json.dumps(listed) + "\n")
        return
    for access in desired:
        print_line(f"{access.where}: {_describe_access(access)}", stream=sys.stdout)
    for line in describe(more):
        print_line(f"new since the last isolated run: {line}", stream=sys.stdout)
    if not desired and not more:
        print_line("· the file requires no access to the host: nothing to allow")
    elif allowed:
        print_line("· allowed until one of these changes\n  → devbox up · devbox trust --revoke")
    else:
        print_line("· not allowed yet\n  → devbox trust")


def _describe_access(access: HostAccess) -> str:
    match access:
        case SecretAccess():
            return f"{access.container} gets {access.variable} from {access.reference}{_format_target(access)}"
        case HookAccess():
            return f"hook {access.name}, run on the host: {access.command}"
        case ShellToolsAccess():
            return f"your shell gets the commands {access.commands} on PATH in this project, by `devbox hook`"
        case ShellVariableAccess():
            return f"your shell gets {access.variable} of {access.service} in this project, by `devbox hook`"
        case InstallAccess():
            return f"{access.install} installs {access.path} of its image on the host, at {access.place}"
        case GateAccess() | MetricAccess():
            return f"{access.kind} of {access.stage}, run on the host: {host_access.format_command(access)}"


def _format_target(access: SecretAccess) -> str:
    """Format a file's target, if it differs from the reference."""
    return f" ({access.path})" if access.path not in ("", access.reference.partition(":")[2]) else ""


def _to_plain(record: AccessRecord, where: str) -> dict[str, str]:
    return {
        "container": record.container,
        "variable": record.variable,
        "reference": record.reference,
        "where": where,
        "path": record.path,
    }
