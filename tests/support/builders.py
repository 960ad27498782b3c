"""Small models for tests: valid by default, so that each test sets only what it is about."""

from __future__ import annotations

from typing import Any

from devbox.model.container import ContainerSpec, compute_spec_key
from devbox.model.image import Bootstrap, ImageConfig, ImageSpec, KeyedImage, Packages, key_image
from devbox.model.observed import Observed, ObservedContainer
from devbox.model.spec import Desired, Instance, Spec
from devbox.plan import order

INSTANCE = Instance(id="0123456789ab", name="shop", root="/src/shop", env_file="devbox.toml", owner=1000, group=1000)


def image(name: str, *packages: str, parent: str | None = None) -> ImageSpec:
    """An image of a bootstrap step (without a parent) and one packages step (with any)."""
    steps: list[Any] = [] if parent else [Bootstrap(distribution="debian", suite="trixie")]
    if packages:
        steps.append(Packages(names=packages))
    return ImageSpec(name=name, parent=parent, steps=tuple(steps), config=ImageConfig())


def container(name: str, *, role: str = "service", **fields: Any) -> ContainerSpec:
    """A container on the image of its own name."""
    label = name if role == "dev" else f"{role}.{name}"
    fields.setdefault("image", label)
    return ContainerSpec(name=name, label=label, role=role, **fields)


def resolved(*containers: ContainerSpec, images: tuple[ImageSpec, ...] = ()) -> Desired:
    """A file of these containers; images not given are made plain."""
    known = {spec.name: spec for spec in images}
    for spec in containers:
        known.setdefault(spec.image, image(spec.image, spec.name))
    return Desired(instance=INSTANCE, images=known, containers={spec.name: spec for spec in containers})


def seen(spec: ContainerSpec, desired: Spec, **fields: Any) -> ObservedContainer:
    """The observed container in its desired state."""
    facts: dict[str, Any] = {
        "name": spec.name,
        "role": spec.role,
        "state": "running",
        "health": "none",
        "image": spec.image,
        "digest": "sha256:0",
        "pid": 100,
        "spec_key": compute_spec_key(spec),
        "image_key": key_images(desired)[spec.image].key,
    }
    return ObservedContainer(**facts | fields)


def converged(desired: Spec, **fields: Any) -> Observed:
    """An instance in its desired state."""
    facts: dict[str, Any] = {
        "supervised": True,
        "containers": {name: seen(spec, desired) for name, spec in desired.containers.items()},
        "names": tuple(desired.containers),
        "baked": dict.fromkeys(desired.images, "sha256:0"),
    }
    return Observed(**facts | fields)


def key_images(resolved: Spec) -> dict[str, KeyedImage]:
    """Return all images of the file's containers with their keys, parents first."""
    desired = (spec.image for spec in resolved.containers.values())
    return {name: key_image(name, resolved.images) for name in order.list_lineage(desired, resolved.images)}
