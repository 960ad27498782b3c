"""One-shot containers: `devbox run -- CMD` on the image of a container or base of the file. Pure."""

from __future__ import annotations

import dataclasses
import os

from devbox.errors import UsageError
from devbox.model.container import ContainerSpec, Mount
from devbox.model.resolved import Resolved


def oneshot(resolved: Resolved, source: str, argv: tuple[str, ...]) -> ContainerSpec:
    """The spec of a container that runs `argv` once.

    `source` is a container's name (its image, environment, mounts and needs, none of its ports) or `base.NAME` (the
    bare image over the workspace).
    """
    name = f"run-{os.getpid()}"
    standing = resolved.containers.get(source)
    if standing is not None:
        return dataclasses.replace(
            standing,
            name=name,
            kind="job",
            command=argv,
            supervised=(),
            ports=(),
            health=None,
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
            command=argv,
            workdir="/workspace",
            mounts=(workspace,),
            restart="no",
        )
    known = ", ".join((*resolved.containers, *resolved.images))
    raise UsageError(f"there is nothing called {source} to run a command in", remedy=f"known: {known}")
