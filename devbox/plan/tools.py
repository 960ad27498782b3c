"""What a call of a tool runs: the tool by its name, or one of its commands. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.errors import UsageError
from devbox.model.image import FromDockerfile, ImageConfig
from devbox.model.resolved import Resolved, Tool
from devbox.plan import order

Argv = tuple[str, ...]


def find(resolved: Resolved, name: str) -> Tool:
    """The tool that a name calls: its own, or one of its commands. UsageError where there is none."""
    tools = resolved.tools
    found = tools.get(name) or next((tool for tool in tools.values() if name in tool.shims), None)
    if found is None:
        known = ", ".join(names(tools)) or "none"
        raise UsageError(f"there is no tool {name} in {resolved.instance.env_file}", remedy=f"known: {known}")
    return found


def names(tools: Mapping[str, Tool]) -> tuple[str, ...]:
    """Everything that `devbox tool` takes as a name."""
    return tuple(dict.fromkeys([*tools, *shims(tools)]))


def shims(tools: Mapping[str, Tool]) -> tuple[str, ...]:
    """The commands that go on PATH."""
    return tuple(dict.fromkeys(shim for tool in tools.values() for shim in tool.shims))


def answers(resolved: Resolved, tool: Tool) -> tuple[str, ...]:
    """The names by which this tool is called."""
    return tuple(name for name in (tool.name, *tool.shims) if find(resolved, name) is tool)


def argv(tool: Tool, name: str, image: ImageConfig) -> tuple[Argv, Argv]:
    """What runs when it is called by this name, before the words of the call; and the words where a call has none.

    An image of a registry has its entrypoint before, and its command instead of, what a person says.
    """
    if name != tool.name and name != _program(tool):
        return (name,), ()
    if tool.command:
        return tool.command, ()
    return image.entrypoint, image.command


def changes_unseen(resolved: Resolved, tool: Tool) -> bool:
    """Whether it depends on more than the env file and the lock: on what a Dockerfile copies, or on git's branch."""
    if resolved.branched:
        return True
    images = order.lineage((resolved.containers[tool.container].image,), resolved.images)
    return any(isinstance(step, FromDockerfile) for name in images for step in resolved.images[name].steps)


def _program(tool: Tool) -> str:
    """What its command is called; of a shell's text, the first word."""
    words = tool.command[2].split() if tool.command[:2] == ("/bin/sh", "-c") else list(tool.command)
    return words[0].rpartition("/")[2] if words else ""
