"""`env_files`: lines of NAME=value, as other tools write them."""

from __future__ import annotations

import re

from devbox.envfile.read import read_text
from devbox.errors import EnvFileError

_LINE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*(?P<value>.*)")
_QUOTED = re.compile(r"""(?P<mark>["'])(?P<text>.*)(?P=mark)\s*(?:\#.*)?""")


def load(path: str, *, name: str, within: str = "") -> dict[str, str]:
    """The variables of an env file, which must lie `within`. Empty lines and lines with `#` in front say nothing."""
    variables: dict[str, str] = {}
    for number, line in enumerate(read_text(path, name=name, within=within).splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise EnvFileError(
                "this line is not NAME=value", where=f"{name}:{number}", remedy="a comment begins with #"
            )
        variables[match["name"]] = _value(match["value"])
    return variables


def _value(text: str) -> str:
    quoted = _QUOTED.fullmatch(text)
    if quoted is None:
        return text.partition(" #")[0].strip()
    if quoted["mark"] == '"':
        return quoted["text"].replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
    return quoted["text"]
