"""`build` and `release ls|show|rm`: releases by digest."""

from __future__ import annotations

import datetime as dt
import shlex
import sys
from typing import TYPE_CHECKING

from devbox.cli import output, prompts, ps
from devbox.cli.display.select import choose
from devbox.cli.locate import open_from_args
from devbox.cli.terminal import print_line
from devbox.commands import build as verbs
from devbox.errors import FAILED, UsageError
from devbox.host.disk import format_size
from devbox.project import prepare

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devbox.commands.signing import NamedSigner
    from devbox.commands.table.options import Args
    from devbox.model.container import Health
    from devbox.model.release import Process, Release
    from devbox.project import Project

_SHELL = ("/bin/sh", "-c")
_SHORT = 12  # digits of a short release ID


def build(args: Args) -> int:
    """Build a release; print ID, digest and layer sizes (data)."""
    if names := args.get_texts("names"):
        raise UsageError("devbox build builds the release, without names", remedy=f"devbox bake {' '.join(names)}")
    project = open_from_args(args)
    by = _choose_signer(project, args.get_text("key"))
    with choose(args.get_text("progress")) as display:
        result = verbs.build(project, display, locked=args.get_flag("locked"), by=by)
    release, layers = result.release, result.image.layers
    if args.get_flag("json"):
        plain = [{"digest": layer.digest, "size": layer.size} for layer in layers]
        signed = {"signed_by": result.signed.by} if result.signed else {}
        return output.print_document({"release": release.id, "digest": release.image, "layers": plain, **signed})
    if args.get_text("progress") not in ("quiet", "json") and not result.plan:
        print_line("· nothing to do: already built")
    print_line(f"release  {release.id}", stream=sys.stdout)
    print_line(f"digest   {release.image}", stream=sys.stdout)
    print_line(f"source   {release.source}", stream=sys.stdout)
    if result.signed:
        print_line(f"signed   {result.signed.by}", stream=sys.stdout)
    for layer in layers:
        print_line(f"layer    {_format_layer(layer.digest)}  {format_size(layer.size)}", stream=sys.stdout)
    print_line(f"size     {format_size(sum(layer.size for layer in layers))}", stream=sys.stdout)
    return 0


def _format_layer(digest: str) -> str:
    """Format a layer's digest: short on a terminal, else in full."""
    return f"{digest[: len('sha256:') + _SHORT]}…" if output.find_data_width() else digest


def _choose_signer(project: Project, key: str) -> NamedSigner | None:
    """Return the signer of the build, with the passphrase prompt before the build; None without one."""
    desired = prepare(project, bakes=True)
    if not key and not desired.builders:
        return None
    from devbox.cli import prompts
    from devbox.commands import signing

    return signing.choose_builder(project, desired, key, prompts.find_passphrase_prompt())


def ls(args: Args) -> int:
    """Print the releases of the project with their states."""
    from devbox.commands import promote

    project = open_from_args(args)
    found, states = verbs.list_releases(project), promote.list_states(project)
    if args.get_flag("json"):
        return output.print_document([_to_plain(release, states.get(release.id, {})) for release in found])
    now, revoked = dt.datetime.now(dt.UTC), promote.list_revoked(project)
    lines = [
        (
            release.id.removeprefix("sha256:")[:_SHORT],
            release.image.removeprefix("sha256:")[:_SHORT],
            ps.format_age(release.created_at, now),
            _format_source(release.source),
            ", ".join(
                [
                    *(["revoked"] if release.id in revoked else ()),
                    *(_format_state(stage, state) for stage, state in states.get(release.id, {}).items()),
                ]
            )
            or "-",
        )
        for release in found
    ]
    output.print_table(("RELEASE", "DIGEST", "AGE", "SOURCE", "STAGES"), lines)
    return 0


def show(args: Args) -> int:
    """Print a release; its JSON is the document given to stages."""
    project = open_from_args(args)
    from devbox.cli import sign

    release = sign.find_release(args, project, args.get_text("release"))
    from devbox.commands import gray_releases, promote

    stages = promote.list_states(project).get(release.id, {})
    gray_release = gray_releases.find_running(project, release.id) if stages else None
    if args.get_flag("json"):
        from devbox.model import codec

        config = {"digest": release.config_digest, **codec.dump(release.config)}
        return output.print_document({**_to_plain(release, stages), "config": config})
    print_line(f"release  {release.id}", stream=sys.stdout)
    print_line(f"digest   {release.image}", stream=sys.stdout)
    print_line(f"config   {release.config_digest}", stream=sys.stdout)
    print_line(f"source   {release.source}", stream=sys.stdout)
    print_line(f"built    {release.created_at}", stream=sys.stdout)
    if stages:
        print_line(
            f"stages   {', '.join(_format_state(stage, state) for stage, state in stages.items())}", stream=sys.stdout
        )
    if gray_release is not None:
        from devbox.cli.display import gray
        from devbox.gray.summary import summarize

        print_line(
            f"gray     {gray.format_position(summarize(gray_release))} (devbox release status)", stream=sys.stdout
        )
    if release.config.needs:
        print_line(f"needs    {', '.join(release.config.needs)}", stream=sys.stdout)
    if release.config.processes:
        lines = [(name, *_format_process(process)) for name, process in release.config.processes.items()]
        output.print_table(("PROCESS", "KIND", "PORTS", "HEALTH", "SECRETS", "COMMAND"), lines)
    return 0


def remove(args: Args) -> int:
    """Remove a release that no stage needs."""
    if not args.get_text("release"):
        raise UsageError("missing argument: RELEASE", remedy="devbox release ls")
    project = open_from_args(args)
    found = verbs.find_removable(project, args.get_text("release"))
    command = f"release rm {found.short_id}"
    if not prompts.agree(args, f"Remove release {found.short_id} from this host?", command=command):
        return FAILED
    verbs.remove_release(project, found)
    print_line(f"✓ removed release {found.short_id}\n  → remove its image: devbox image gc")
    return 0


def _format_process(process: Process) -> tuple[str, ...]:
    """Format a process: kind, ports, health, names of secrets, command."""
    ports = ", ".join(f"{port.container}{'/udp' if port.protocol == 'udp' else ''}" for port in process.ports)
    kind = process.kind if process.replicas == 1 else f"{process.kind} ×{process.replicas}"
    command = process.command[2] if process.command[:2] == _SHELL else shlex.join(process.command)
    return kind, ports or "-", _format_health(process.health), ", ".join(process.secrets) or "-", command


def _format_health(health: Health | None) -> str:
    if health is None:
        return "-"
    if health.command:
        return "command"
    return f"http {health.http}" if health.http else f"tcp {health.port}"


def _format_state(stage: str, state: str) -> str:
    """Format a state; a stage that runs the release is shown by its name alone."""
    return stage if state == "running" else f"{stage} ({state})"


def _to_plain(release: Release, stages: Mapping[str, str]) -> dict[str, object]:
    return {
        "release": release.id,
        "digest": release.image,
        "source": release.source,
        "created_at": release.created_at,
        "stages": dict(stages),
    }


def _format_source(source: str) -> str:
    """Format a source: `git 1f2e3d4c5b6a`, plus `dirty` for uncommitted changes."""
    kind, _, rest = source.partition(":")
    digits, dirty, _ = rest.removeprefix("sha256:").partition("-dirty")
    return f"{kind} {digits[:_SHORT]}{', dirty' if dirty else ''}"
