"""Verbs about tools: made ready on use, and called by the commands they put on PATH."""

from __future__ import annotations

from devbox import flow
from devbox.errors import EngineError
from devbox.execute import shims
from devbox.execute.events import Sink
from devbox.model.image import ImageConfig, keyed
from devbox.model.resolved import Resolved, Tool
from devbox.opened import Project, load
from devbox.plan import tools
from devbox.records import calls
from devbox.records.calls import Call
from devbox.verbs import unchanged


def ready(opened: Project, name: str, sink: Sink) -> Call:
    """Start what a tool called `name` needs, and its container; how it is called. The next call finds it warm."""
    container = tools.find(load(opened), name).container
    resolved = flow.up(opened, sink, names=(container,), wait=False).resolved
    tool = tools.find(resolved, name)
    image = _config(opened, resolved, tool)
    found = {each: _call(resolved, tool, each, image) for each in tools.answers(resolved, tool)}
    if not found[name].command and not found[name].default:
        spec = resolved.containers[tool.container]
        raise EngineError(
            f"{spec.label} has no command, and neither has its image",
            where=spec.where,
            remedy='give it one: command = ["program"]',
        )
    stamped = None if tools.changes_unseen(resolved, tool) else unchanged.stamps_of_file(opened)
    if stamped is not None:
        for each, call in found.items():
            calls.write(opened.paths.call(opened.id, each), call, stamped)
    return found[name]


def write_shims(opened: Project) -> tuple[str, tuple[str, ...]]:
    """The directory of the project's shims, and the commands in it: all that the file has now."""
    resolved = load(opened)
    directory = opened.paths.shims(opened.id)
    shims.refresh(directory, resolved.instance, tools.shims(resolved.tools))
    return directory, tools.shims(resolved.tools)


def _config(opened: Project, resolved: Resolved, tool: Tool) -> ImageConfig:
    baked = opened.store.find(keyed(resolved.containers[tool.container].image, resolved.images).key)
    return baked.config if baked else ImageConfig()


def _call(resolved: Resolved, tool: Tool, name: str, image: ImageConfig) -> Call:
    spec = resolved.containers[tool.container]
    workspace = next(mount.target for mount in spec.mounts if mount.kind == "workspace")
    command, default = tools.argv(tool, name, image)
    workdir = "" if spec.workdir == workspace else spec.workdir
    return Call(tool.container, command=command, default=default, workspace=workspace, workdir=workdir)
