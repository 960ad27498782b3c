"""`cp`: copy files between the host and a container."""

from __future__ import annotations

from devbox.cli import selection
from devbox.cli.locate import locate
from devbox.commands import copy
from devbox.commands.copy import CopyPath, Entrance
from devbox.errors import CannotRun, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.commands.table.options import Args

_FORWARDED = ("directory", "file", "stage", "user")
_EXAMPLE = "devbox cp dev:/etc/os-release ., or: devbox cp seed.sql db:/tmp"


def cp(args: Args) -> int:
    """Copy a file or directory."""
    words = args.get_texts("words")
    if len(words) != 2:  # noqa: PLR2004 - source and target
        raise UsageError("expected a source and a target", remedy=_EXAMPLE)
    if "-" in words:
        raise UsageError("cannot copy a stream: expected a path", remedy="devbox exec NAME -- tar c PATH")
    source, target = (_parse(word) for word in words)
    if bool(source.container) == bool(target.container):
        raise UsageError("either the source or the target must be in a container", remedy=_EXAMPLE)
    location, name = locate(args), source.container or target.container
    if not any(row["pid"] for row in selection.select_rows(args, location, (name,))):
        raise CannotRun(f"{name} is not running", remedy=f"devbox up {name}")
    flags = [word for name in _FORWARDED if (value := args.get_text(name)) for word in (f"--{name}", value)]
    copy.copy(source, target, Entrance(lambda container: ("exec", *flags, "--no-tty", container, "--")))
    return 0


def _parse(word: str) -> CopyPath:
    """Parse CONTAINER:PATH (`:PATH` is in dev) or a host path; one with a colon needs a leading `./`."""
    container, colon, path = word.partition(":")
    if not colon or "/" in container or not word:
        return CopyPath(word)
    return CopyPath(path or ".", container or "dev")
