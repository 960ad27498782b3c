"""Options and arguments of several commands."""

from __future__ import annotations

from devbox.cli.options import MANY, TEXT, Argument, Option

CONTAINER = Argument("container", about="A container, named as in the file; dev when left out.", words="containers")
SHELL_ON_FAIL = Option(
    "--shell-on-fail", about="Where a step of an image fails, open a shell in the state it left; on a terminal only."
)
STAGE = Option(
    "--stage", about="Of a stage of the project, where releases run.", kind=TEXT, metavar="STAGE", words="stages"
)
YES = Option("-y", "--yes", about="Remove without asking.")
CONFIRM = Option(
    "--confirm",
    about="Confirm by its name that a protected stage is destroyed.",
    kind=MANY,
    metavar="STAGE",
    words="stages",
)
KEY = Option(
    "--key",
    about="Whose key: a name from `devbox key ls`. Left out, DEVBOX_KEY where that may, else the only one that may.",
    kind=TEXT,
    metavar="NAME",
    words="keys",
)
LOCKED = Option("--locked", about="Take what devbox.lock.toml says, write nothing there; exit 1 if it lacks something.")
