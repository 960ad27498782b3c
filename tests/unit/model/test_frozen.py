"""devbox's frozen dataclasses behave like those of the standard library."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import field
from typing import Any

import pytest

from devbox.model import frozen


@frozen.dataclass(frozen=True, kw_only=True)
class Ours:
    """One of ours."""

    name: str
    tags: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    secret: str = field(default="", repr=False)
    seen: int = field(default=0, compare=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Theirs:
    """The same, by the standard library."""

    name: str
    tags: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    secret: str = field(default="", repr=False)
    seen: int = field(default=0, compare=False)


@frozen.dataclass(frozen=True, kw_only=True)
class More(Ours):
    """One with more fields."""

    port: int


_GIVEN: list[dict[str, Any]] = [
    {"name": "web"},
    {"name": "web", "tags": ("a", "b"), "secret": "s3cret"},
    {"name": "db", "env": {"A": "1"}, "seen": 3},
]


@pytest.mark.parametrize("given", _GIVEN)
def test_fields_defaults_and_what_is_shown_are_the_same(given: dict[str, Any]):
    ours, theirs = Ours(**given), Theirs(**given)

    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")


@pytest.mark.parametrize("one", _GIVEN)
@pytest.mark.parametrize("other", [*_GIVEN, {"name": "web", "seen": 9}])
def test_the_same_are_equal(one: dict[str, Any], other: dict[str, Any]):
    assert (Ours(**one) == Ours(**other)) is (Theirs(**one) == Theirs(**other))


def test_equal_ones_have_one_hash_and_a_mutable_field_has_none():
    @frozen.dataclass(frozen=True, kw_only=True)
    class Plain:
        """Nothing mutable."""

        name: str
        number: int = 0

    assert len({Plain(name="a"), Plain(name="a", number=0), Plain(name="b")}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(Ours(name="web"))


def test_an_instance_of_another_class_is_another():
    assert Ours(name="web") != More(name="web", port=1)
    assert Ours(name="web") != Theirs(name="web")
    assert More(name="web", port=1).env == {}


def test_each_instance_has_its_own_default():
    assert Ours(name="a").env is not Ours(name="b").env


def test_nothing_can_be_changed():
    made = Ours(name="web")

    with pytest.raises(dataclasses.FrozenInstanceError, match="name"):
        made.name = "db"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match="name"):
        del made.name  # type: ignore[misc]
    assert made.name == "web"


def test_copies_are_equal_and_replaced_ones_differ_in_that():
    made = Ours(name="web", tags=("a",))

    assert copy.deepcopy(made) == made
    assert pickle.loads(pickle.dumps(made)) == made
    assert dataclasses.replace(made, name="db") == Ours(name="db", tags=("a",))


@pytest.mark.parametrize(
    ("given", "said"),
    [({}, "missing fields of Ours: name"), ({"name": "web", "colour": "red"}, "unknown fields of Ours: colour")],
)
def test_what_does_not_fit_is_named(given: dict[str, Any], said: str):
    with pytest.raises(TypeError, match=said):
        Ours(**given)


def test_other_kinds_are_refused():
    with pytest.raises(TypeError, match="keyword-only"):
        frozen.dataclass(frozen=True, kw_only=False)
