"""Patterns of paths, as .dockerignore and the env file have them. Pure."""

from __future__ import annotations

import re


def expression(pattern: str) -> str:
    """Go's filepath.Match with `**`, as a regular expression."""
    made, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            made, at = made + "(?:.*/)?", at + 3
        elif pattern.startswith("**", at):
            made, at = made + ".*", at + 2
        elif match := re.compile(r"\[\^?[^\]]+\]").match(pattern, at):
            made, at = made + match[0], match.end()
        elif pattern[at] == "\\" and at + 1 < len(pattern):
            made, at = made + re.escape(pattern[at + 1]), at + 2
        else:
            made, at = made + {"*": "[^/]*", "?": "[^/]"}.get(pattern[at], re.escape(pattern[at])), at + 1
    return made
