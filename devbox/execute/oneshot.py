"""One-shot containers: `devbox run -- CMD` on the image of a container or base of the file. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import field

from devbox.errors import UsageError
from devbox.frozen import dataclass
from devbox.model.container import ContainerSpec, Mount
from devbox.model.resolved import Resolved


@dataclass(frozen=True, kw_only=True)
class Command:
    """What a person wants run once; `env` comes on top, empty `workdir` and `user` are the container's own."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""
    user: str = ""


def oneshot(resolved: Resolved, source: str, command: Command, *, name: str) -> ContainerSpec:
    """The spec of a container called `name` that runs `command` once.

    `source` is a container's name (its image, environment, mounts and needs, none of its ports) or `base.NAME` (the
    bare image over the workspace).
    """
    spec = _source(resolved, source, name)
    return dataclasses.replace(
        spec,
        command=command.argv,
        env={**spec.env, **command.env},
        secrets={name: source for name, source in spec.secrets.items() if name not in command.env},
        workdir=command.workdir or spec.workdir,
        user=command.user or spec.user,
    )


def _source(resolved: Resolved, source: str, name: str) -> ContainerSpec:
    standing = resolved.containers.get(source)
    if standing is not None:
        return dataclasses.replace(
            standing,
            name=name,
            kind="job",
            schedule="",
            aliases=(),
            supervised=(),
            ports=(),
            health=None,
            image_health=False,
            restart="no",
            setup=None,
            keep_top=False,
        )
    if source in resolved.images:
        workspace = Mount(kind="workspace", source=resolved.instance.root, target="/workspace")
        return ContainerSpec(
            name=name,
            label=source,
            role="base",
            image=source,
            kind="job",
            workdir="/workspace",
            mounts=(workspace,),
            restart="no",
        )
    bases = [name.removeprefix("base.") for name in resolved.images if name.startswith("base.")]
    flags = [*resolved.containers, *(f"--base {name}" for name in bases)]
    what = f"base {source.removeprefix('base.')}" if source.startswith("base.") else f"container {source}"
    raise UsageError(f"there is no {what} to run a command in", remedy=f"known: {', '.join(flags) or 'none'}")
