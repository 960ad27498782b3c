"""What a file leaves to the image of a container: known when the image is there. Pure."""

from __future__ import annotations

import dataclasses

from devbox.model.container import ContainerSpec
from devbox.model.image import ImageConfig


def completed(spec: ContainerSpec, image: ImageConfig) -> ContainerSpec:
    """The spec with nothing left open, as users of Compose expect it.

    A service's command takes the place of the image's, behind its entrypoint; dev and one-shots of bases run nothing
    but what they are told.
    """
    if spec.idle:
        return dataclasses.replace(spec, user=spec.user or image.user, workdir=spec.workdir or image.workdir)
    entrypoint = image.entrypoint if spec.role in ("service", "glue") else ()
    return dataclasses.replace(
        spec,
        command=(*entrypoint, *(spec.command or image.command)),
        user=spec.user or image.user,
        workdir=spec.workdir or image.workdir,
        stop_signal=spec.stop_signal or image.stop_signal,
        health=spec.health or (image.health if spec.image_health else None),
    )
