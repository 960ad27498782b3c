"""Which project a command line is about. Light: nothing is parsed, the engine is not loaded."""

from __future__ import annotations

from devbox.host import project
from devbox.host.paths import Paths, default_paths
from devbox.model.ids import instance_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.cli.options import Args
    from devbox.opened import Project


class Place:
    """A project found: its instance id and the paths of this DEVBOX_HOME."""

    __slots__ = ("env_file", "id", "paths", "root")

    def __init__(self, root: str, env_file: str, paths: Paths) -> None:
        self.root = root
        self.env_file = env_file
        self.paths = paths
        self.id = instance_id(root, env_file)


def locate(args: Args) -> Place:
    """The project that `-C` and `-f` name, or the one around the current directory."""
    root, env_file = project.find(args.text("directory") or ".", file=args.text("file") or None)
    return Place(root, env_file, default_paths())


def opened(args: Args) -> Project:
    """The same project with its engine and store, ready for flow."""
    from devbox.opened import open_project

    return open_project(args.text("directory") or ".", file=args.text("file") or None)
