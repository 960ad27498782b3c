"""An image of layers that the store has: its documents written, its name last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from devbox.images import layout, manifest
from devbox.images.layout import Layout
from devbox.model.image import Baked, ImageConfig, Layer


def assembled(
    oci: Layout, layers: Sequence[Layer], document: Mapping[str, Any], *, name: str, key: str, run: ImageConfig
) -> Baked:
    """Have the image in the layout. `document` is its OCI config, `run` what containers take of that."""
    config = oci.write_json(layout.CONFIG, document)
    platform = oci.write_json(layout.MANIFEST, manifest.image_manifest(config, layers))
    index = oci.write_json(layout.INDEX, manifest.image_index(platform))
    oci.set_ref(name, index)
    return Baked(
        key=key,
        digest=index.digest,
        manifest=platform.digest,
        config_digest=config.digest,
        layers=tuple(layers),
        config=run,
    )
