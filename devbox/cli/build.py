"""`build` and `release ls|show`: what was made, by digest."""

from __future__ import annotations

import datetime as dt
import shlex
import sys
from typing import TYPE_CHECKING

from devbox.cli import output, table
from devbox.cli.display.choose import choose
from devbox.cli.project import opened
from devbox.cli.terminal import say
from devbox.host.sizes import shown
from devbox.opened import load
from devbox.verbs import build as verbs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devbox.cli.options import Args
    from devbox.model.container import Health
    from devbox.model.release import Process, Release
    from devbox.opened import Project
    from devbox.verbs.signing import Named

_SHELL = ("/bin/sh", "-c")
_SHORT = 12  # digits of a digest that tell releases apart


def build(args: Args) -> int:
    """Make a release; its id and digest are the data, with the size of each layer."""
    project = opened(args)
    by = _signer(project, args.text("key"))
    with choose(args.text("progress")) as display:
        made = verbs.build(project, display, locked=args.flag("locked"), by=by)
    release, layers = made.release, made.image.layers
    if args.flag("json"):
        plain = [{"digest": layer.digest, "size": layer.size} for layer in layers]
        signed = {"signed_by": made.signed.by} if made.signed else {}
        return output.document({"release": release.id, "digest": release.image, "layers": plain, **signed})
    if args.text("progress") not in ("quiet", "json") and not made.plan:
        say("· nothing to do: this was built before")
    say(f"release  {release.id}", stream=sys.stdout)
    say(f"digest   {release.image}", stream=sys.stdout)
    say(f"source   {release.source}", stream=sys.stdout)
    if made.signed:
        say(f"signed   {made.signed.by}", stream=sys.stdout)
    for layer in layers:
        say(f"layer    {_layer(layer.digest)}  {shown(layer.size)}", stream=sys.stdout)
    say(f"size     {shown(sum(layer.size for layer in layers))}", stream=sys.stdout)
    return 0


def _layer(digest: str) -> str:
    """What tells a layer from others; all of its digest for who reads no line that is broken."""
    return f"{digest[: len('sha256:') + _SHORT]}…" if output.columns() else digest


def _signer(project: Project, key: str) -> Named | None:
    """Who signs what is built, asked for the passphrase before anything is; None where nobody does."""
    resolved = load(project, bakes=True)
    if not key and not resolved.builders:
        return None
    from devbox.cli import passphrase
    from devbox.verbs import signing

    return signing.builder(project, resolved, key, passphrase.asker())


def ls(args: Args) -> int:
    """The releases of the project, and what became of each."""
    from devbox.verbs import promote

    project = opened(args)
    found, states = verbs.releases(project), promote.states(project)
    if args.flag("json"):
        return output.document([_plain(release, states.get(release.id, {})) for release in found])
    now, revoked = dt.datetime.now(dt.UTC), promote.revoked(project)
    lines = [
        (
            release.id.removeprefix("sha256:")[:_SHORT],
            release.image.removeprefix("sha256:")[:_SHORT],
            table.since(release.created_at, now),
            _source(release.source),
            ", ".join(
                [
                    *(["revoked"] if release.id in revoked else ()),
                    *(_state(stage, state) for stage, state in states.get(release.id, {}).items()),
                ]
            )
            or "-",
        )
        for release in found
    ]
    output.table(("RELEASE", "DIGEST", "AGE", "SOURCE", "STAGES"), lines)
    return 0


def show(args: Args) -> int:
    """All about one release; its JSON is what a stage will be given."""
    project = opened(args)
    release = verbs.release(project, args.text("release"))
    from devbox.verbs import promote, trials

    stages = promote.states(project).get(release.id, {})
    trial = trials.under_way(project, release.id) if stages else None
    if args.flag("json"):
        from devbox.model import codec

        config = {"digest": release.config_digest, **codec.dump(release.config)}
        return output.document({**_plain(release, stages), "config": config})
    say(f"release  {release.id}", stream=sys.stdout)
    say(f"digest   {release.image}", stream=sys.stdout)
    say(f"config   {release.config_digest}", stream=sys.stdout)
    say(f"source   {release.source}", stream=sys.stdout)
    say(f"built    {release.created_at}", stream=sys.stdout)
    if stages:
        say(f"stages   {', '.join(_state(stage, state) for stage, state in stages.items())}", stream=sys.stdout)
    if trial is not None:
        from devbox.cli.display import gray
        from devbox.gray.glance import glance

        say(f"gray     {gray.place(glance(trial))} (devbox release report)", stream=sys.stdout)
    if release.config.needs:
        say(f"needs    {', '.join(release.config.needs)}", stream=sys.stdout)
    if release.config.processes:
        lines = [(name, *_told(process)) for name, process in release.config.processes.items()]
        output.table(("PROCESS", "KIND", "PORTS", "HEALTH", "SECRETS", "COMMAND"), lines)
    return 0


def _told(process: Process) -> tuple[str, ...]:
    """A process for a person: kind, ports, health, names of secrets, command."""
    ports = ", ".join(f"{port.container}{'/udp' if port.protocol == 'udp' else ''}" for port in process.ports)
    kind = process.kind if process.replicas == 1 else f"{process.kind} ×{process.replicas}"
    command = process.command[2] if process.command[:2] == _SHELL else shlex.join(process.command)
    return kind, ports or "-", _health(process.health), ", ".join(process.secrets) or "-", command


def _health(health: Health | None) -> str:
    if health is None:
        return "-"
    if health.command:
        return "command"
    return f"http {health.http}" if health.http else f"tcp {health.port}"


def _state(stage: str, state: str) -> str:
    """As people say it: a stage by its name alone is one that runs the release."""
    return stage if state == "running" else f"{stage} ({state})"


def _plain(release: Release, stages: Mapping[str, str]) -> dict[str, object]:
    return {
        "release": release.id,
        "digest": release.image,
        "source": release.source,
        "created_at": release.created_at,
        "stages": dict(stages),
    }


def _source(source: str) -> str:
    """`git 1f2e3d4c5b6a`, with `dirty` where the files were not the commit's."""
    kind, _, rest = source.partition(":")
    digits, dirty, _ = rest.removeprefix("sha256:").partition("-dirty")
    return f"{kind} {digits[:_SHORT]}{', dirty' if dirty else ''}"
