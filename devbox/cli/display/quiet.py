"""Nothing at all: an error still gets its sentence, from `cli/main.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from devbox.execute.events import Event


class QuietDisplay:
    """Swallows every event."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Nothing is held."""

    def __call__(self, event: Event) -> None:
        """Nothing is shown, but why a shell opens."""
        from devbox.cli.terminal import say
        from devbox.execute.events import Lent

        if isinstance(event, Lent) and event.text:
            say(event.text)
