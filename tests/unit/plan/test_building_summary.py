"""Descriptions of images by their packages or their origin."""

from devbox.model.image import Files, FromDockerfile, FromRegistry, ImageConfig, ImageSpec, Packages
from devbox.plan import building


def spec(*steps) -> ImageSpec:
    return ImageSpec(name="db", parent=None, steps=steps, config=ImageConfig())


def test_an_image_is_told_by_the_packages_it_is_there_for():
    pins = {"postgresql-17": "17.12-0+deb13u1", "libpq5": "17.12-0+deb13u1"}
    steps = (Files(contents={}), Packages(names=("postgresql-17", "curl"), pins=pins))
    assert building.describe_image(spec(*steps)) == "postgresql-17 17.12-0+deb13u1, curl"


def test_an_image_of_elsewhere_is_told_by_where():
    steps = (FromRegistry(reference="docker.io/library/redis:8"),)
    assert building.describe_image(spec(*steps)) == "docker.io/library/redis:8"
    assert building.describe_image(spec(FromDockerfile(path="Dockerfile"))) == "Dockerfile"
