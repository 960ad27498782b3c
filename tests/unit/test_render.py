"""Strict templates."""

from __future__ import annotations

import pytest

from devbox.render import RenderError, render, render_all


def test_strings_inside_lists_and_tables():
    assert render_all({"{{ a }}": ["{{ a }}-{{ b.c }}", 1]}, {"a": "x", "b": {"c": "y"}}) == {"x": ["x-y", 1]}


def test_a_shells_own_braces_are_left_alone():
    assert render("${#x} ${x} {{ a }}\n", {"a": "1"}) == "${#x} ${x} 1\n"


@pytest.mark.parametrize(
    "text", ["{{ nope }}", "{{ a.nope }}", "{{ a", "{{ a.__class__.__mro__ }}", "{% include 'x' %}"]
)
def test_what_a_template_can_not_do(text):
    with pytest.raises(RenderError):
        render(text, {"a": {}})
