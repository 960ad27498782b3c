"""Plans of `devbox build`: when `[build]` runs, which steps wait for it, and why."""

from __future__ import annotations

from dataclasses import replace

from devbox.model.container import ContainerSpec
from devbox.model.image import Copy, Files, ImageConfig, ImageSpec, Run, key_image
from devbox.model.observed import Observed
from devbox.model.release import Build, BuildInputs, compute_build_key
from devbox.model.spec import Instance, Spec
from devbox.plan import building

INPUTS = BuildInputs(
    image="sha256:1", files={"a": "file:1", "b": "file:2"}, commands=("make",), env={}, output=("dist",), network="none"
)


def resolved(output: str = "") -> Spec:
    base = ImageSpec(name="base.b", parent=None, steps=(Files(contents={"/x": "x"}),), config=ImageConfig())
    copied = (Copy(paths={"dist": "/app"}, output=output), Run(commands=("finish",), output=output))
    images = {
        "base.b": base,
        "build": replace(base, name="build", parent="base.b", steps=()),
        "image": replace(base, name="image", parent="base.b", steps=copied),
        "install.x": replace(base, name="install.x", parent="image", steps=()),
    }
    container = ContainerSpec(name="build", label="build", role="build", image="build")
    return Spec(
        instance=Instance(id="0", name="app", root="/p", env_file="devbox.toml", owner=0, group=0),
        images=images,
        containers={},
        build=Build(container=container, commands=("make",), inputs=("a",), output=("dist",)),
    )


def test_the_image_waits_for_the_build_and_the_build_for_everything_else():
    plan = building.plan(resolved(), Observed(supervised=False), images=("install.x",), build="not built yet")
    ids = [step.id for step in plan.steps]
    assert ids == ["bake base.b", "bake build", "network app", "build build", "bake image", "bake install.x"]
    steps = {step.id: step for step in plan.steps}
    assert set(steps["build build"].after) == {"bake base.b", "bake build", "network app"}
    assert "build build" in steps["bake image"].after
    assert "bake image" in steps["bake install.x"].after


def test_what_was_built_before_is_not_built_again():
    file = resolved("sha256:2")
    observed = Observed(supervised=False, baked=dict.fromkeys(("base.b", "build"), "sha256:0"))
    plan = building.plan(file, observed, images=("image",), build="")
    assert [step.id for step in plan.steps] == ["bake image"]
    everything = replace(observed, baked=dict.fromkeys(file.images, "sha256:0"))
    assert not building.plan(file, everything, images=("image",), build="")


def test_the_same_output_makes_the_same_image():
    assert key_image("image", resolved("sha256:2").images).key == key_image("image", resolved("sha256:2").images).key
    assert key_image("image", resolved("sha256:2").images).key != key_image("image", resolved("sha256:3").images).key


def test_every_input_counts_and_the_reason_names_it():
    changes = {
        "a changed": replace(INPUTS, files={**INPUTS.files, "a": "file:3"}),
        "c is new": replace(INPUTS, files={**INPUTS.files, "c": "file:3"}),
        "b was removed": replace(INPUTS, files={"a": "file:1"}),
        "commands changed": replace(INPUTS, commands=("make all",)),
        "output changed": replace(INPUTS, output=("out",)),
        "network changed": replace(INPUTS, network="project"),
        "E is new": replace(INPUTS, env={"E": "1"}),
        "its toolchain changed": replace(INPUTS, image="sha256:2"),
    }
    assert len({compute_build_key(INPUTS), *map(compute_build_key, changes.values())}) == 1 + len(changes)
    for reason, now in changes.items():
        assert building.why_build(now, INPUTS) == reason
        told = building.list_verdicts(now, INPUTS, built=False)
        assert [verdict.verdict for verdict in told] != ["unchanged"]


def test_unchanged_values_are_distinguished_from_lost_ones():
    assert building.why_build(INPUTS, None) == "not built yet"
    assert building.list_verdicts(INPUTS, INPUTS, built=True)[0].verdict == "unchanged"
    assert building.list_verdicts(INPUTS, INPUTS, built=False)[0].verdict == "missing"
    assert "no longer" in building.why_build(INPUTS, INPUTS)
