"""What lies below a Dockerfile's step in an image's chain."""

from __future__ import annotations

from typing import NamedTuple

from devbox.model.image import Baked, Layer


class Below(NamedTuple):
    """The image that the step's `base` means: its layers, and the image these began with, where it came as a whole."""

    layers: tuple[Layer, ...]
    image: Baked | None
