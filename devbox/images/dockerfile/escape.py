"""Instructions of a Dockerfile with another escape character, written so that none is needed in them. Pure.

buildah goes by `# escape=` where lines end, and takes a backslash for an escape in words all the same.
"""

from __future__ import annotations

import re


def quoted(rest: str, escape: str) -> str:
    """The words with what was escaped in quotes, and with every backslash in them: it is a character."""
    own = re.escape(escape)
    inside = re.compile(rf"{own}([\"${own}])|(\\)")
    token = re.compile(rf"(?P<single>'[^']*')|\"(?P<double>(?:{own}.|[^\"{own}])*)\"|{own}(?P<escaped>.)|(?P<plain>\\)")

    def changed(match: re.Match[str]) -> str:
        if match["single"] is not None:
            return match[0]
        if match["double"] is not None:
            kept = inside.sub(lambda each: f'"{_literal(each[1] or each[2])}"', match["double"])
            return f'"{kept}"'
        return _literal(match["escaped"] or match["plain"])

    return token.sub(changed, rest)


def _literal(char: str) -> str:
    return '"\'"' if char == "'" else f"'{char}'"
