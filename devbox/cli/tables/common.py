"""Options and arguments of several commands."""

from __future__ import annotations

from devbox.cli.options import Argument, Option

CONTAINER = Argument("container", about="A container, named as in the file; dev when left out.", words="containers")
SHELL_ON_FAIL = Option(
    "--shell-on-fail", about="Where a step of an image fails, open a shell in the state it left; on a terminal only."
)
LOCKED = Option("--locked", about="Take what devbox.lock.toml says, write nothing there; exit 1 if it lacks something.")
