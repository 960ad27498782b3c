"""Tasks, tools, debug and one-shot commands: order, up-to-date checks and command lines. Pure."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import field

from devbox.errors import UsageError
from devbox.model.container import ContainerSpec, Mount
from devbox.model.frozen import dataclass
from devbox.model.image import FromDockerfile, ImageConfig
from devbox.model.observed import TaskDone
from devbox.model.plan import Op, Plan, Step
from devbox.model.spec import Spec, Task, Tool
from devbox.plan import order

Argv = tuple[str, ...]

_TASK_SHELL = ("/bin/sh", "-c")


def find_task(name: str, tasks: Mapping[str, Task], *, env_file: str) -> Task:
    """Return a task by name. UsageError if it does not exist."""
    if name not in tasks:
        known = ", ".join(tasks) or "none"
        raise UsageError(f"task {name} not found in {env_file}", remedy=f"known: {known}")
    return tasks[name]


def plan_needs(name: str, tasks: Mapping[str, Task]) -> Plan:
    """Return a step per transitive need of a task, in dependency order, without the task itself."""
    order: dict[str, None] = {}
    _collect(name, tasks, order)
    return Plan(
        steps=tuple(
            Step(
                op=Op.TASK,
                resource=need,
                reason=f"needed by {next(other for other in tasks if other in order and need in tasks[other].needs)}",
                after=tuple(f"task {before}" for before in tasks[need].needs),
            )
            for need in order
            if need != name
        )
    )


def build_task_argv(task: Task, arguments: Argv = ()) -> Argv:
    """Return a task as one command; arguments are passed to its last command."""
    *before, last = task.commands
    if not before:
        return _add_arguments(last, arguments, task.name)
    script = " && ".join(shlex.join(_normalize(item)) for item in before)
    end = shlex.join(_add_arguments(last, (), task.name)) if not arguments else _pass_arguments(last)
    return (*_TASK_SHELL, f"{script} && {end}", task.name, *arguments)


def explain_run(task: Task, last: TaskDone | None, now: TaskDone, *, missing: Argv) -> str:
    """Explain why a task runs; "" if it is up to date. `missing`: missing outputs."""
    if not task.inputs:
        return "no inputs declared"
    if last is None:
        return "no successful run yet"
    if last.commands != now.commands:
        return "its commands changed"
    if last.image != now.image:
        return "the image of dev changed"
    if last.files != now.files:
        return f"its inputs changed: {_describe_changed(last.files, now.files)}"
    return f"missing output: {missing[0]}" if missing else ""


def _collect(name: str, tasks: Mapping[str, Task], order: dict[str, None]) -> None:
    for need in tasks[name].needs:
        if need not in order:
            _collect(need, tasks, order)
    order[name] = None


def _normalize(item: str | Argv) -> Argv:
    return (*_TASK_SHELL, item) if isinstance(item, str) else item


def _add_arguments(item: str | Argv, arguments: Argv, name: str) -> Argv:
    if not arguments:
        return _normalize(item)
    if isinstance(item, str):
        return (*_TASK_SHELL, f'{item.rstrip()} "$@"', name, *arguments)
    return (*item, *arguments)


def _pass_arguments(item: str | Argv) -> str:
    """Return a script command that forwards the script's arguments."""
    words = (*_TASK_SHELL, f'{item.rstrip()} "$@"', "sh") if isinstance(item, str) else item
    return f'{shlex.join(words)} "$@"'


def _describe_changed(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Format a list of changes as `a.py and 2 more`."""
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}"


def find_tool(spec: Spec, name: str) -> Tool:
    """Return a tool by its own name or one of its commands. UsageError if it does not exist."""
    tools = spec.tools
    found = tools.get(name) or next((tool for tool in tools.values() if name in tool.shims), None)
    if found is None:
        known = ", ".join(list_names(tools)) or "none"
        raise UsageError(f"tool {name} not found in {spec.instance.env_file}", remedy=f"known: {known}")
    return found


def list_names(tools: Mapping[str, Tool]) -> tuple[str, ...]:
    """Return all names accepted by `devbox tool`."""
    return tuple(dict.fromkeys([*tools, *list_shims(tools)]))


def list_shims(tools: Mapping[str, Tool]) -> tuple[str, ...]:
    """Return the commands to put on PATH."""
    return tuple(dict.fromkeys(shim for tool in tools.values() for shim in tool.shims))


def list_call_names(spec: Spec, tool: Tool) -> tuple[str, ...]:
    """Return the names that call this tool."""
    return tuple(name for name in (tool.name, *tool.shims) if find_tool(spec, name) is tool)


def build_tool_argv(tool: Tool, name: str, image: ImageConfig) -> tuple[Argv, Argv]:
    """Return the command called by this name, and the default arguments of a call without any.

    In an image from a registry, the user's arguments follow the entrypoint and replace the command.
    """
    if name != tool.name and name != _find_program(tool):
        return (name,), ()
    if tool.command:
        return tool.command, ()
    return image.entrypoint, image.command


def has_unseen_inputs(spec: Spec, tool: Tool) -> bool:
    """True if inputs exist besides the env file and lockfile: Dockerfile contexts or the git branch."""
    if spec.branched:
        return True
    images = order.list_lineage((spec.containers[tool.container].image,), spec.images)
    return any(isinstance(step, FromDockerfile) for name in images for step in spec.images[name].steps)


def _find_program(tool: Tool) -> str:
    """Return the program name of a tool; for shell text, its first word."""
    words = tool.command[2].split() if tool.command[:2] == ("/bin/sh", "-c") else list(tool.command)
    return words[0].rpartition("/")[2] if words else ""


IMAGE = "debug"
# In the form of an env-file table. gdb without Python, which would be larger than all other packages.
TABLE: Mapping[str, object] = {
    "recipe": "debian",
    "packages": ["gdb-minimal", "iproute2", "lsof", "procps", "strace", "tcpdump"],
}

# Shell code to find the target's processes: those in its pid namespace with another mount namespace.
_OTHERS = (
    'own=$(readlink /proc/self/ns/mnt); all=; for one in /proc/[0-9]*; do case $(readlink "$one/ns/mnt") in '
    '"$own" | "") ;; *) all="$all ${one#/proc/}" ;; esac; done; '
)
_SHELL = ("/bin/sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash; exec sh")
_PROGRAMS: dict[str, Argv] = {
    "gdb": ("gdb", "-q", "-p", "1"),
    "lsof": ("/bin/sh", "-c", f'{_OTHERS}exec lsof -nP -p "$(echo $all | tr " " ,)" "$@"', "lsof"),
    "ps": ("ps", "axfo", "pid,user:12,stat,start,time,args"),
    "ss": ("ss", "-tuanp"),
    "strace": ("/bin/sh", "-c", f'{_OTHERS}exec strace -f -p "$all" "$@"', "strace"),
    "tcpdump": ("tcpdump", "-i", "any", "-nn", "-l"),
}


@dataclass(frozen=True, kw_only=True)
class DebugRequest:
    """Debug request of the user: a program or tool, an image, a command."""

    tool: str = ""
    image: str = ""
    command: Argv = ()


def find_debug_image(spec: Spec, desired: DebugRequest) -> tuple[str, Mapping[str, object] | None]:
    """Return the name of the debug image, and its table unless the file defines the image."""
    if desired.image:
        return f"{IMAGE}.image", {"image": desired.image}
    if desired.tool in list_names(spec.tools):
        return spec.containers[find_tool(spec, desired.tool).container].image, None
    if desired.tool and desired.tool not in _PROGRAMS:
        known = ", ".join((*_PROGRAMS, *list_names(spec.tools)))
        raise UsageError(f"debug tool {desired.tool} not found", remedy=f"known: {known}")
    return IMAGE, TABLE


def build_debug_argv(spec: Spec, desired: DebugRequest) -> Argv:
    """Return the command: the tool with its arguments, the command itself, or a shell."""
    if not desired.tool:
        return desired.command or _SHELL
    if desired.tool in list_names(spec.tools):
        command = find_tool(spec, desired.tool).command
        return (*(command or (desired.tool,)), *desired.command)
    return (*_PROGRAMS[desired.tool], *desired.command)


def build_debug_spec(name: str, image_name: str, command: Argv, env: Mapping[str, str]) -> ContainerSpec:
    """Return the spec of the one-shot container `name`; it runs as root to inspect processes of every user."""
    return dataclasses.replace(
        ContainerSpec(name=name, label="debug", role="debug", image=image_name),
        kind="job",
        command=command,
        env=dict(env),
        restart="no",
    )


@dataclass(frozen=True, kw_only=True)
class OneShotCommand:
    """One-shot command of the user; `env` overrides, empty `workdir` and `user` use the container's."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""
    user: str = ""


def build_oneshot(spec: Spec, source: str, command: OneShotCommand, *, name: str) -> ContainerSpec:
    """Return the spec of a container `name` that runs `command` once.

    `source`: a container (its image, environment, mounts and needs, without its ports) or `base.NAME` (the plain image
    with the workspace).
    """
    container = _find_source(spec, source, name)
    return dataclasses.replace(
        container,
        command=command.argv,
        env={**container.env, **command.env},
        secrets={name: source for name, source in container.secrets.items() if name not in command.env},
        workdir=command.workdir or container.workdir,
        user=command.user or container.user,
    )


def _find_source(spec: Spec, source: str, name: str) -> ContainerSpec:
    standing = spec.containers.get(source)
    if standing is not None:
        return dataclasses.replace(
            standing,
            name=name,
            kind="job",
            schedule="",
            aliases=(),
            supervised=(),
            ports=(),
            health=None,
            image_health=False,
            restart="no",
            setup=None,
            keep_top=False,
        )
    if source in spec.images:
        workspace = Mount(kind="workspace", source=spec.instance.root, target="/workspace")
        return ContainerSpec(
            name=name,
            label=source,
            role="base",
            image=source,
            kind="job",
            workdir="/workspace",
            mounts=(workspace,),
            restart="no",
        )
    bases = [name.removeprefix("base.") for name in spec.images if name.startswith("base.")]
    flags = [*spec.containers, *(f"--base {name}" for name in bases)]
    what = f"base {source.removeprefix('base.')}" if source.startswith("base.") else f"container {source}"
    raise UsageError(f"{what} not found", remedy=f"known: {', '.join(flags) or 'none'}")
