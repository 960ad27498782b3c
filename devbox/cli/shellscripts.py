"""Scripts that people have their shell read, one a shell."""

from __future__ import annotations

import sys

from devbox.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from devbox.cli.options import Args


def show(args: Args, scripts: Mapping[str, str], *, command: str) -> int:
    """Print the script of the shell that the command line names. UsageError where there is none for it."""
    shell = args.text("shell")
    if shell not in scripts:
        wrong = f"there is no {command} for {shell}" if shell else f"{command} wants the name of a shell"
        raise UsageError(wrong, remedy=" · ".join(f"devbox {command} {known}" for known in scripts))
    sys.stdout.write(scripts[shell])
    return 0
