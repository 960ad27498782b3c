"""Strict templates."""

from __future__ import annotations

import pytest
from jinja2 import TemplateError

import devbox.render
from devbox.render import RenderError, render, render_all


def test_strings_inside_lists_and_tables():
    assert render_all({"{{ a }}": ["{{ a }}-{{ b.c }}", 1]}, {"a": "x", "b": {"c": "y"}}) == {"x": ["x-y", 1]}


def test_a_shells_own_braces_are_left_alone():
    assert render("${#x} ${x} {{ a }}\n", {"a": "1"}) == "${#x} ${x} 1\n"


@pytest.mark.parametrize(
    "text",
    [
        "{{ a }}",
        "{{a}}:{{  b  }}",
        "{{ a }}{{ number }} {{ nothing }} {{ yes }}",
        "a }} {{ a }}",
        "{{ a }\r\n{{ a }}\r\n",
        "{{ true }} {{ none }} {{ a }}",
        "{{- a -}} ",
        "{{ a | upper }}",
        "{{ items }} {{ items.b }}",
        "{## not this: {{ a }} ##}{{ a }}",
        "{% if a %}{{ a }}{% endif %}",
        "{{ '}}' }}",
        "{{ braced }}",
        "{{ a }}\n",
    ],
)
def test_what_has_only_names_is_filled_as_jinja_fills_it(text: str):
    variables = {"a": "x", "b": "y", "number": 3, "nothing": None, "yes": True, "items": {"b": 1}, "braced": "{{ a }}"}

    try:
        expected = devbox.render._create_environment().from_string(text).render(variables)
    except TemplateError:
        with pytest.raises(RenderError):
            render(text, variables)
        return
    assert render(text, variables) == expected


@pytest.mark.parametrize(
    "text", ["{{ nope }}", "{{ a.nope }}", "{{ a", "{{ a.__class__.__mro__ }}", "{% include 'x' %}"]
)
def test_what_a_template_can_not_do(text):
    with pytest.raises(RenderError):
        render(text, {"a": {}})
