"""Strict Jinja2: an undefined name is an error, and a template can reach only the variables passed in."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment


_MORE = ("{%", "{##", "\r")  # syntax handled by Jinja2 only
_OWN = {"true", "false", "none", "True", "False", "None", "self", "not"}  # names reserved by Jinja2


class RenderError(ValueError):
    """A malformed template or an undefined name; the message states which."""


def render(text: str, variables: Mapping[str, object]) -> str:
    """Return `text` with its `{{ … }}` expressions filled in."""
    if "{{" not in text and "{%" not in text:
        return text
    if (filled := _fill(text, variables)) is not None:
        return filled
    from jinja2 import TemplateError

    try:
        return _create_environment().from_string(text).render(variables)
    except (TemplateError, TypeError) as error:  # TypeError: a template that includes another one
        raise RenderError(str(error)) from None


def _fill(text: str, variables: Mapping[str, object]) -> str | None:
    """Fill a template that only uses names, without the 30 ms to load Jinja2; None if Jinja2 is required."""
    if any(mark in text for mark in _MORE):
        return None
    pieces = text.split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:
        name, closed, rest = piece.partition("}}")
        name = name.strip(" ")
        if not closed or not name.isidentifier() or name in _OWN or name not in variables:
            return None
        filled += [str(variables[name]), rest]
    return "".join(filled)


def render_all(value: Any, variables: Mapping[str, object]) -> Any:
    """Render every string inside lists and tables, including table keys."""
    if isinstance(value, str):
        return render(value, variables)
    if isinstance(value, list):
        return [render_all(item, variables) for item in value]
    if isinstance(value, dict):
        return {render(key, variables): render_all(item, variables) for key, item in value.items()}
    return value


@functools.cache
def _create_environment() -> SandboxedEnvironment:
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    # Rare comment marks, so that a shell's ${#name} does not start a comment.
    return SandboxedEnvironment(
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
        comment_start_string="{##",
        comment_end_string="##}",
    )
