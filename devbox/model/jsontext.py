"""JSON, read: the one place that does so, since whoever wrote a text may be an enemy. Standard library only."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DEEPEST = 64  # tables and lists in each other; documents have about six


def loads(
    text: str | bytes,
    *,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
    parse_constant: Callable[[str], Any] | None = None,
) -> Any:
    """Parse a JSON text. Raises ValueError if it is invalid, or nested more than DEEPEST levels deep.

    How deep Python itself goes depends on its version and on who calls; deeper values would stop whoever uses them.
    `object_pairs_hook`, `parse_constant`: as those of `json.loads`.
    """
    try:
        plain = json.loads(text, object_pairs_hook=object_pairs_hook, parse_constant=parse_constant)
    except RecursionError:
        raise _make_depth_error() from None
    level = [plain]
    for _ in range(DEEPEST):
        level = [each for value in level for each in _list_children(value)]
        if not level:
            return plain
    raise _make_depth_error()


def _list_children(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _make_depth_error() -> ValueError:
    return ValueError(f"it is nested more than {DEEPEST} levels deep")
