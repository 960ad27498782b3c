"""What a container was started with (`Supervised`), as its supervisor wrote it down for all others."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from devbox.host.paths import Paths
    from devbox.isolation.types import Supervised


def read(paths: Paths, instance: str, name: str) -> dict[str, Any] | None:
    """As plain values; None where nobody supervises the container. EngineError if the file is damaged."""
    from devbox.host import files
    from devbox.model import jsontext

    path = paths.launch_file(instance, name)
    text = files.read_text(path)
    if not text:
        return None
    try:
        plain: dict[str, Any] = jsontext.loads(text)
    except ValueError:
        raise _damaged(path) from None
    if not isinstance(plain, dict) or not isinstance(plain.get("launch"), dict):
        raise _damaged(path)
    return plain


def load(paths: Paths, instance: str, name: str) -> Supervised | None:
    """The same as what it was."""
    from devbox.isolation.types import Supervised, unpack

    plain = read(paths, instance, name)
    try:
        return unpack(Supervised, plain) if plain else None
    except (TypeError, AttributeError):
        raise _damaged(paths.launch_file(instance, name)) from None


def _damaged(path: str) -> Exception:
    from devbox.errors import EngineError

    return EngineError(f"{path} is damaged", remedy="devbox down, then devbox up")
