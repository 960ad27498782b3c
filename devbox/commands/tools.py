"""Implementation of `tool` and `debug`: tools are started on demand and called by shims."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Mapping

from devbox import flow
from devbox.commands import noop_stamps
from devbox.engines import capabilities
from devbox.errors import CannotRun, EngineError
from devbox.execute import hooks
from devbox.execute.events import Sink
from devbox.execute.grant_checks import check_grants
from devbox.images.store import lock
from devbox.model.image import ImageConfig, key_image
from devbox.model.spec import Desired, Spec, Tool
from devbox.plan import diff as differ
from devbox.plan import locking, tasks
from devbox.project import ApplyContext, Project, apply, check_names, lock_instance, observe_instance, prepare
from devbox.records.noop import ToolCall, write_tool_call


def make_ready(project: Project, name: str, sink: Sink) -> ToolCall:
    """Start the container of tool `name` and its needs; return the call. The container stays warm."""
    container = tasks.find_tool(prepare(project), name).container
    resolved = flow.up(project, sink, names=(container,), wait=False).resolved
    tool = tasks.find_tool(resolved, name)
    image = _find_config(project, resolved, tool)
    found = {each: _make_call(resolved, tool, each, image) for each in tasks.list_call_names(resolved, tool)}
    if not found[name].command and not found[name].default:
        spec = resolved.containers[tool.container]
        raise EngineError(
            f"missing command of {spec.label}: its image has none either",
            where=spec.where,
            remedy='add command = ["program"]',
        )
    stamped = None if tasks.has_unseen_inputs(resolved, tool) else noop_stamps.stamp_env_file(project)
    if stamped is not None:
        for each, call in found.items():
            write_tool_call(project.paths.tool_call(project.id, each), call, stamped)
    return found[name]


def write_shims(project: Project) -> tuple[str, tuple[str, ...]]:
    """Update the project's shims; return their directory and names."""
    desired = prepare(project)
    directory = project.paths.shims(project.id)
    hooks.refresh_shims(directory, desired.instance, tasks.list_shims(desired.tools))
    return directory, tasks.list_shims(desired.tools)


def _find_config(project: Project, spec: Spec, tool: Tool) -> ImageConfig:
    baked = project.store.find(key_image(spec.containers[tool.container].image, spec.images).key)
    return baked.config if baked else ImageConfig()


def _make_call(spec: Spec, tool: Tool, name: str, image: ImageConfig) -> ToolCall:
    container = spec.containers[tool.container]
    workspace = next(mount.target for mount in container.mounts if mount.kind == "workspace")
    command, default = tasks.build_tool_argv(tool, name, image)
    workdir = "" if container.workdir == workspace else container.workdir
    return ToolCall(tool.container, command=command, default=default, workspace=workspace, workdir=workdir)


def debug(
    project: Project,
    target: str,
    required: tasks.DebugRequest,
    sink: Sink,
    *,
    env: Mapping[str, str],
    tty: bool = False,
    stage: str = "",
) -> int:
    """Run a one-shot container in the namespaces of `target` (files: /proc/1/root); return its exit code.

    `stage`: where the target runs; "" for development. CannotRun if the target is not running.
    """
    from devbox.execute.actions import build_request
    from devbox.execute.terminal import SecretResolver

    with contextlib.ExitStack() as lease:
        desired = prepare(project)
        if stage:
            from devbox.deploy.targets.local import LocalTarget

            target_stage = LocalTarget(project, stage)
            desired, project = desired.derive(instance=target_stage.build_instance()), target_stage.place
        with lock_instance(project, sink):
            check_grants(project, desired)
            desired, image = _add_image(project, desired, required)
            spec = tasks.build_debug_spec(f"debug-{os.getpid()}", image, tasks.build_debug_argv(desired, required), env)
            observed = observe_instance(project, desired)
            seen = observed.containers.get(target)
            if seen is None:
                check_names(desired, (target,))
            if seen is None or seen.pid is None:
                known = ", ".join(name for name, each in observed.containers.items() if each.pid) or "nothing"
                raise CannotRun(f"{target} is not running", remedy=f"devbox up {target} (running: {known})")
            if image not in observed.baked:
                project.store.sweep()
                context = ApplyContext(project=project, desired=desired, observed=observed, sink=sink)
                result = apply(differ.plan_bakes(desired, (image,)), context)
                desired = desired.derive(images=result.images)
            request = build_request(spec, desired.images, observed, project.store, SecretResolver(desired))
            started = dataclasses.replace(request, joins=target)
            lease.enter_context(lock.lease_image(project.paths, started.image.key))
        return capabilities.run_once(project.engine, desired.instance, started, tty=tty)


def _add_image(project: Project, desired: Desired, required: tasks.DebugRequest) -> tuple[Desired, str]:
    """Add the debug image, of the file or with the base of the lockfile; return its name."""
    from devbox.envfile import recipes
    from devbox.execute.locks import Locks, pin_images

    name, table = tasks.find_debug_image(desired, required)
    if table is not None:
        images = desired.images | {name: recipes.build_tool_image(name, table, root=project.root)}
        desired = desired.derive(images=locking.lock_images(images, Locks(desired.instance).read()))
    return desired.derive(images=pin_images(desired.images, project.store)), name
