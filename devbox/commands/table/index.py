"""Index of the command tables, the only source of names, options and help. Tables are loaded on demand."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from devbox.commands.table.options import Command

    Table = tuple[Command, ...]

# Two-word commands are listed by their first word in `devbox --help`.
GROUPS = {
    "recipe": "Show recipes of images and services",
    "snapshot": "Manage snapshots of service data",
    "volume": "Manage volumes of services",
    "export": "Convert the project for other tools",
    "image": "Manage images: store, registries, garbage collection",
    "release": "Manage releases",
    "key": "Manage signing keys",
}


def _load_lifecycle() -> Table:
    from devbox.commands.table import lifecycle

    return lifecycle.TABLE


def _load_containers() -> Table:
    from devbox.commands.table import containers

    return containers.TABLE


def _load_data() -> Table:
    from devbox.commands.table import data

    return data.TABLE


def _load_project() -> Table:
    from devbox.commands.table import project

    return project.TABLE


def _load_images() -> Table:
    from devbox.commands.table import images

    return images.TABLE


def _load_releases() -> Table:
    from devbox.commands.table import releases

    return releases.TABLE


def _load_tests() -> Table:
    from devbox.commands.table import tests

    return tests.TABLE


def _load_keys() -> Table:
    from devbox.commands.table import keys

    return keys.TABLE


# Tables with the first words of their commands.
TABLES: tuple[tuple[Callable[[], Table], str], ...] = (
    (_load_lifecycle, "init up down stop restart ps logs open"),
    (_load_containers, "shell exec run tool debug"),
    (_load_tests, "test"),
    (_load_data, "snapshot volume"),
    (_load_project, "plan why lock config recipe trust doctor export hook completion"),
    (_load_releases, "build install promote rollback release approve verify"),
    (_load_images, "image"),
    (_load_keys, "key"),
)


def find(name: str) -> Command | None:
    """Return the command of this name, such as `ps` or `image ls`."""
    first = name.partition(" ")[0]
    for load, words in TABLES:
        if first in words.split():
            return next((command for command in load() if command.name == name), None)
    return None


def list_commands() -> dict[str, Command]:
    """Return all commands by name, in help order."""
    return {command.name: command for load, _ in TABLES for command in load()}
