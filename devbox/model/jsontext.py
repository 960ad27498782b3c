"""JSON parser for all input, which may be hostile. Standard library only."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DEEPEST = 64  # levels of nesting; documents have about six


def loads(
    text: str | bytes,
    *,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
    parse_constant: Callable[[str], Any] | None = None,
) -> Any:
    """Parse a JSON text. Raises ValueError if it is invalid, or nested more than DEEPEST levels deep.

    Python's own limit depends on its version and on the stack; deeper values would overflow it in later processing.
    NaN and Infinity are invalid, and surrogates other than those of undecodable bytes (PEP 383): these cannot be
    written. `object_pairs_hook`, `parse_constant`: as in `json.loads`.
    """
    if not isinstance(text, str):
        text = text.decode(json.detect_encoding(text))
    try:
        plain = json.loads(text, object_pairs_hook=object_pairs_hook, parse_constant=parse_constant or _reject_constant)
    except RecursionError:
        raise _make_depth_error() from None
    _check_depth(plain)
    if "\\ud" in text or "\\uD" in text:
        _check_text(json.dumps(plain, ensure_ascii=False))
    return plain


def _check_depth(plain: Any) -> None:
    level = [plain]
    for _ in range(DEEPEST):
        level = [each for value in level for each in _list_children(value)]
        if not level:
            return
    raise _make_depth_error()


def _check_text(text: str) -> None:
    try:
        text.encode(errors="surrogateescape")
    except UnicodeEncodeError as error:
        raise ValueError(f"{text[error.start : error.end]!a} is not valid text") from None


def _list_children(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _reject_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _make_depth_error() -> ValueError:
    return ValueError(f"nested more than {DEEPEST} levels deep")
