"""Project of a command line. Light: nothing is parsed, the engine is not loaded."""

from __future__ import annotations

import os

from devbox.host import environ, project
from devbox.host.paths import Paths, get_default_paths
from devbox.model.ids import compute_stage_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.commands.table.options import Args
    from devbox.project import Project


class ProjectLocation:
    """A project: instance ID (that of the stage, if one is named), and paths of this DEVBOX_HOME."""

    __slots__ = ("env_file", "id", "paths", "root", "stage")

    def __init__(self, root: str, env_file: str, paths: Paths, *, stage: str = "") -> None:
        self.root = root
        self.env_file = env_file
        self.paths = paths
        self.stage = stage
        self.id = project.identify(paths, root, env_file)
        if os.path.isdir(paths.projects) and not os.path.isdir(paths.project(self.id)):  # new, or moved here
            from devbox.records.projects import find_id

            self.id = find_id(paths, root, env_file)
        if stage:
            self.id = compute_stage_id(self.id, stage)

    @property
    def is_native(self) -> bool:
        """True if the native engine runs the containers, so that its files and fast paths may be used."""
        return environ.get_engine_name() == environ.NATIVE_ENGINE


def locate(args: Args) -> ProjectLocation:
    """Return the project by `-C` and `-f`, else around the current directory; with `--stage`, that stage of it."""
    root, env_file = project.find(args.get_text("directory") or ".", file=args.get_text("file") or None)
    return ProjectLocation(root, env_file, get_default_paths(), stage=args.get_text("stage"))


def open_from_args(args: Args) -> Project:
    """Open the project with its engine and store, ready for flow."""
    from devbox.cli import terminal
    from devbox.project import open_project

    asks = terminal.find_prompt_terminal(progress=args.get_text("progress"))
    return open_project(args.get_text("directory") or ".", file=args.get_text("file") or None, asks=asks)
