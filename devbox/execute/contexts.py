"""The contexts of Dockerfiles, looked at: what the cache of the resolved file does not remember."""

from __future__ import annotations

from dataclasses import replace

from devbox.model.image import FromDockerfile
from devbox.model.resolved import Resolved


def with_contexts(resolved: Resolved) -> Resolved:
    """The file by what its Dockerfiles and their contexts hold just now."""
    if not any(isinstance(step, FromDockerfile) for spec in resolved.images.values() for step in spec.steps):
        return resolved
    from devbox.images.dockerfile.context import with_contents

    return replace(resolved, images=with_contents(resolved.images, resolved.instance.root))
