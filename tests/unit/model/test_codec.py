"""Models to JSON and back."""

from __future__ import annotations

import json

import pytest
from support.builders import container, resolved

from devbox.model import codec
from devbox.model.container import Health, Port, Setup
from devbox.model.image import Bootstrap, Files, ImageConfig, ImageSpec, Packages, Run, describe, key_image
from devbox.model.spec import Desired

IMAGE = ImageSpec(
    name="dev",
    parent=None,
    steps=(
        Bootstrap(distribution="debian", suite="trixie"),
        Packages(names=("git",)),
        Run(commands=("a && b", ("c", "d")), env={"X": "1"}),
        Files(contents={"/etc/x": "y\n"}, modes={"/etc/x": 0o755}),
    ),
    config=ImageConfig(env={"PATH": "/bin"}),
)
DEV = container(
    "dev",
    role="dev",
    image="dev",
    health=Health(http="/", port=80),
    ports=(Port(container=80),),
    setup=Setup(commands=("x", ("y", "z")), inputs=("a",)),
)


def test_a_model_survives_json():
    desired = resolved(DEV, images=(IMAGE,))
    assert codec.load(Desired, json.loads(json.dumps(codec.dump(desired)))) == desired


@pytest.mark.parametrize(
    "plain",
    [{"name": "x"}, {"name": "x", "parent": None, "steps": [], "config": {}, "more": 1}, [], None],
)
def test_missing_unknown_and_misshapen_are_refused(plain):
    with pytest.raises(codec.CodecError):
        codec.load(ImageSpec, plain)


@pytest.mark.parametrize("wrong", ["80", 1.5, True, None, [80], {}, 1 << 80])
def test_values_of_another_type_are_refused(wrong: object):
    with pytest.raises(codec.CodecError):
        codec.load(Port, {"container": wrong})


@pytest.mark.parametrize("plain", ["ab", [1], [["a", 1]], 5, {"a": "b"}])
def test_lists_of_something_else_are_refused(plain: object):
    with pytest.raises(codec.CodecError):
        codec.load(tuple[str | tuple[str, ...], ...], plain)


def test_floats_are_finite_and_may_be_whole():
    assert codec.load(tuple[float, ...], [1, 2.5]) == (1, 2.5)
    with pytest.raises(codec.CodecError, match="out of range"):
        codec.load(tuple[float, ...], [float("inf")])


def test_an_unknown_variant_is_refused():
    with pytest.raises(codec.CodecError, match="teleport"):
        codec.load(ImageSpec, {"name": "x", "parent": None, "steps": [{"op": "teleport"}], "config": {}})


def test_a_key_depends_on_everything_below_and_on_nothing_else():
    images = {"dev": IMAGE}
    chain = key_image("dev", images).chain
    other = ImageSpec(
        name="other", parent=None, steps=(*IMAGE.steps[:1], Packages(names=("jq",))), config=ImageConfig()
    )
    assert key_image("other", {"other": other}).chain[0].key == chain[0].key
    assert key_image("other", {"other": other}).chain[1].key != chain[1].key
    assert [describe(step) for step in IMAGE.steps] == [
        "debian trixie",
        "packages git",
        "run a && b (+1 more)",
        "files x",
    ]
