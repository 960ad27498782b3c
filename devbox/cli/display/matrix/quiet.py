"""Nothing at all: the result is on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from devbox.execute.events import Event
    from devbox.model.matrix import MatrixEvent


class QuietMatrix:
    """Swallows every event."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing is held."""

    def __call__(self, event: Event | MatrixEvent) -> None:
        """Nothing is shown."""
