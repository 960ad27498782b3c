"""Descriptions of images by their packages or their origin."""

from devbox.model.image import Files, FromDockerfile, FromRegistry, ImageConfig, ImageSpec, Packages
from devbox.plan import building


def spec(*steps) -> ImageSpec:
    return ImageSpec(name="db", parent=None, steps=steps, config=ImageConfig())


def test_an_image_is_described_by_its_packages():
    pins = {"postgresql-17": "17.12-0+deb13u1", "libpq5": "17.12-0+deb13u1"}
    steps = (Files(contents={}), Packages(names=("postgresql-17", "curl"), pins=pins))
    assert building.describe_image(spec(*steps)) == "postgresql-17 17.12-0+deb13u1, curl"


def test_an_image_of_a_registry_is_described_by_its_origin():
    steps = (FromRegistry(reference="docker.io/library/redis:8"),)
    assert building.describe_image(spec(*steps)) == "docker.io/library/redis:8"
    assert building.describe_image(spec(FromDockerfile(path="Dockerfile"))) == "Dockerfile"
