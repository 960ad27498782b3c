"""Index of the command tables, the only source of names, options and help. Tables are loaded on demand."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.commands.table.options import Command

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

# Other names of commands, mostly those of Docker, Compose, kubectl, npm and jetify's devbox.
ALIASES = {
    "start": "up",
    "status": "ps",
    "upgrade": "update",
    "images": "image ls",
    "pull": "image pull",
    "push": "image push",
    "tag": "image tag",
    "history": "image history",
    "image list": "image ls",
    "image show": "image inspect",
    "image remove": "image rm",
    "image prune": "image gc",
    "image save": "image export",
    "image load": "image import",
    "key list": "key ls",
    "recipe list": "recipe ls",
    "release list": "release ls",
    "release rollback": "rollback",
    "snapshot list": "snapshot ls",
    "snapshot create": "snapshot save",
    "snapshot delete": "snapshot rm",
    "snapshot inspect": "snapshot show",
    "volume list": "volume ls",
    "volume inspect": "volume show",
    "volume remove": "volume rm",
}

# Tables as "MODULE:NAME", with the first words of their commands.
TABLES = (
    ("lifecycle:LIFECYCLE", "init up down bake stop restart ps logs top stats port wait events open"),
    ("containers:CONTAINERS", "shell exec run tool inspect cp debug"),
    ("releases:TESTS", "test"),
    ("storage:DATA", "snapshot volume"),
    (
        "project:PROJECT",
        "plan why lock update outdated config add rm search recipe trust ls doctor export hook completion docs",
    ),
    ("releases:RELEASES", "build install promote rollback release approve verify"),
    ("storage:IMAGES", "image"),
    ("storage:REGISTRIES", "login logout"),
    ("releases:KEYS", "key"),
)


def load(table: str) -> tuple[Command, ...]:
    """Import a table by its place in TABLES."""
    module, _, name = table.partition(":")
    found: tuple[Command, ...] = getattr(__import__(f"devbox.commands.table.{module}", fromlist=[name]), name)
    return found


def find(name: str) -> Command | None:
    """Return the command of this name or alias, such as `ps` or `image ls`."""
    name = ALIASES.get(name, name)
    first = name.partition(" ")[0]
    for table, words in TABLES:
        if first in words.split():
            return next((command for command in load(table) if command.name == name), None)
    return None


def list_commands() -> dict[str, Command]:
    """Return all commands by name, in help order."""
    return {command.name: command for table, _ in TABLES for command in load(table)}
