"""`[[….watch]]`: what happens to a container when files change."""

from __future__ import annotations

from typing import Annotated, Any

from devbox.roles.fields import InnerPaths, Model, field, kind_of, parse_signal

_ACTIONS = ("restart", "rebuild", "signal:NAME", "task:NAME")


def parse_action(value: Any) -> str:
    """What a watch does."""
    if isinstance(value, str):
        kind, _, name = value.partition(":")
        if value in ("restart", "rebuild") or (kind == "task" and name):
            return value
        if kind == "signal" and name:
            return f"signal:{parse_signal(name)}"
    raise ValueError(f"must be one of {', '.join(_ACTIONS)}, not {value if isinstance(value, str) else kind_of(value)}")


class WatchTable(Model):
    """`[[dev.watch]]`, `[[service.NAME.watch]]`: what happens when files change, while `devbox up --watch` stays."""

    paths: InnerPaths
    """Files and globs to watch."""
    ignore: InnerPaths = ()
    """Of these, what does not count."""
    do: Annotated[str, *field(parse_action, {"type": "string"})] = "restart"
    """`restart` (of dev's command alone, in dev), `rebuild` its image, `signal:NAME`, or run `task:NAME` in dev."""
