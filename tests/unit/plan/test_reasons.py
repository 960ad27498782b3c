"""`why image`: the changed input, in words for users."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.builders import image

from devbox.model.image import BakeStep, Bootstrap, Files, ImageConfig, ImageSpec, Packages, Run, key_image
from devbox.plan import reasons
from devbox.plan.reasons import why_image


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (Packages(names=("git",)), Packages(names=("git", "less")), "+ less"),
        (Packages(names=("a", "b")), Packages(names=("b", "a")), "their order"),
        (Packages(names=("a",)), Packages(names=("a",), purge=("/x",)), "their excluded files"),
        (Packages(names=("a",), pins={"a": "1"}), Packages(names=("a",), pins={"a": "2"}), "a 1 → 2"),
        (
            Packages(names=("a",), pins={"a": "1"}),
            Packages(names=("a",)),
            "the lockfile has no versions of its packages",
        ),
        (
            Bootstrap(distribution="debian", suite="trixie"),
            Bootstrap(distribution="debian", suite="bookworm"),
            "debian trixie → debian bookworm",
        ),
        (Run(commands=("make",)), Run(commands=("make", "make install")), "the command `make install` is new"),
        (Run(commands=("a", "b")), Run(commands=("a",)), "fewer commands, or in another order"),
        (Run(commands=("a",), env={"X": "1"}), Run(commands=("a",), env={"X": "2"}), "variable X changed"),
        (Files(contents={"/a": "1"}), Files(contents={"/a": "2", "/b": ""}), "file /a changed, file /b is new"),
        (Files(contents={"/a": "1"}), Run(commands=("a",)), "another kind of step"),
    ],
)
def test_a_changed_input_is_named(before: BakeStep, after: BakeStep, said: str):
    assert reasons.describe_change(before, after) == said


def verdicts(before: ImageSpec | None, after: ImageSpec, digest: str | None = None) -> list[tuple[str, str]]:
    last = key_image("dev", {"dev": before}) if before else None
    found = why_image(key_image("dev", {"dev": after}), last, digest)
    return [(verdict.verdict, verdict.reason) for verdict in found]


def test_steps_above_a_changed_one_follow():
    before = ImageSpec(
        name="dev", parent=None, steps=(Packages(names=("a",)), Run(commands=("x",))), config=ImageConfig()
    )
    after = replace(before, steps=(Packages(names=("b",)), before.steps[1]))
    assert verdicts(before, after) == [
        ("changed", "+ b, - a"),
        ("follows", "a step below it changed"),
    ]


def test_steps_come_and_go():
    assert verdicts(image("dev"), image("dev", "less")) == [("added", "a new step")]
    assert verdicts(image("dev", "less"), image("dev")) == [("removed", "")]


def test_the_configuration_counts():
    plain = image("dev")
    assert verdicts(plain, replace(plain, config=ImageConfig(env={"X": "1"}))) == [
        ("changed", "its environment, command or user changed")
    ]


def test_nothing_changed():
    plain = image("dev")
    assert verdicts(plain, plain, "sha256:1") == [("unchanged", "nothing changed since it was baked: sha256:1")]
    assert verdicts(plain, plain) == [("missing", "nothing changed, but the image is missing in the store")]
    assert verdicts(None, plain) == [("missing", "not baked yet")]
