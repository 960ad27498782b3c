"""`exec`, `shell`, `run`: commands in containers, with the caller's stdio. Light unless a container must start."""

from __future__ import annotations

import os

from devbox.cli import terminal
from devbox.cli.locate import ProjectLocation, locate
from devbox.errors import CANNOT_RUN, FAILED, CannotRun, DevboxError, UsageError
from devbox.host import environ
from devbox.isolation.exec import are_needs_met, run_in_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from devbox.commands.table.options import Args

DEV = "dev"
# bash if available; both read the container's own startup files.
SHELL = ("/bin/sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash; exec sh")


def execute(args: Args) -> int:
    """Run a command in a running container; return its exit code."""
    return separate_exit_codes(_execute, args)


def shell(args: Args) -> int:
    """Open a shell in a container, which is started if necessary."""
    return separate_exit_codes(_shell, args)


def run(args: Args) -> int:
    """Run a task in dev, or a one-shot container."""
    return separate_exit_codes(_run, args)


def separate_exit_codes(command: Callable[[Args], int], args: Args) -> int:
    """Return the child's exit code; errors of devbox itself get a code other than 1."""
    try:
        return command(args)
    except DevboxError as error:
        if error.exit_code == FAILED:
            error.exit_code = CANNOT_RUN
        raise


def _execute(args: Args) -> int:
    container = args.get_text("container") or DEV
    if not args.after:
        raise UsageError("missing argument: COMMAND", remedy=f"devbox exec {container} COMMAND")
    location = locate(args)
    if location.stage:
        return _enter(args, location, _find_stage_container(args, location), args.after)
    try:
        return _enter(args, location, container, args.after)
    except CannotRun:
        _check_exists(location, container)
        raise


def _shell(args: Args) -> int:
    location, argv = locate(args), args.after or SHELL
    if location.stage:
        return _enter(args, location, _find_stage_container(args, location), argv)
    container = args.get_text("container") or DEV
    try:
        if location.is_native and are_needs_met(location.paths, location.id, container):
            return _enter(args, location, container, argv)
    except CannotRun:
        if _is_running(location, container):
            raise
    _start(args, container)
    return _enter(args, location, container, argv)


def _find_stage_container(args: Args, location: ProjectLocation) -> str:
    from devbox.cli import stages

    return stages.find_container(args, location, args.get_text("container"))


def _run(args: Args) -> int:
    task = args.get_text("task")
    if task:
        return _run_task(args, task)
    if args.after:
        return _run_once(args, args.after)
    raise UsageError("missing argument: TASK, or COMMAND after --", remedy="devbox run TASK, or: devbox run -- COMMAND")


def _run_once(args: Args, argv: tuple[str, ...]) -> int:
    """Run a clone of the running source container, which is started if necessary."""
    from devbox.isolation.oneshot import run_clone

    location, options = locate(args), {"cwd": args.get_text("workdir") or None, "user": args.get_text("user") or None}
    source = _choose_stage_source(args, location) if location.stage else _choose_source(args)
    if location.stage:
        return run_clone(
            location.paths, location.id, source, argv, tty=is_tty(args), env=build_environment(args), **options
        )
    try:
        if location.is_native and are_needs_met(location.paths, location.id, source):
            return run_clone(
                location.paths, location.id, source, argv, tty=is_tty(args), env=build_environment(args), **options
            )
    except CannotRun:
        pass  # not running: use the env file
    return _run_once_from_file(args, argv)


def _run_once_from_file(args: Args, argv: tuple[str, ...]) -> int:
    from devbox import flow
    from devbox.cli.display.select import choose
    from devbox.cli.locate import open_from_args
    from devbox.plan.tasks import OneShotCommand

    command = OneShotCommand(
        argv=argv, env=build_environment(args), workdir=args.get_text("workdir"), user=args.get_text("user")
    )
    with choose(args.get_text("progress")) as display:
        return flow.run_once(open_from_args(args), command, display, source=_choose_source(args), tty=is_tty(args))


def _choose_stage_source(args: Args, location: ProjectLocation) -> str:
    """Return the source of a one-shot in a stage: a running container of it."""
    from devbox.cli import stages

    if args.get_text("base"):
        raise UsageError("--base conflicts with --stage", remedy=f"devbox run --stage {location.stage} -- COMMAND")
    return stages.find_container(args, location, args.get_text("service"))


def _choose_source(args: Args) -> str:
    """Return the source of a one-shot: a base, a service, or dev."""
    base, service = args.get_text("base"), args.get_text("service")
    if base and service:
        raise UsageError("--base conflicts with --service", remedy="devbox run --base NAME -- COMMAND")
    return f"base.{base}" if base else service or DEV


def _run_task(args: Args, name: str) -> int:
    """Run a task in dev after its needs; the first failure ends it."""
    from devbox.cli import task

    if stage := args.get_text("stage"):
        raise UsageError(
            f"--stage conflicts with a task: {name} runs in dev", remedy=f"devbox run --stage {stage} -- COMMAND"
        )
    if args.get_text("base") or args.get_text("service"):
        raise UsageError(
            "--base and --service conflict with a task, which runs in dev",
            remedy=f"devbox run {name}, or a one-shot: devbox run -- COMMAND",
        )

    def start() -> None:
        location = locate(args)
        if not (location.is_native and _is_running(location, DEV) and are_needs_met(location.paths, location.id, DEV)):
            _start(args, DEV)

    return task.run(args, name, start=start, execute=lambda argv: _enter(args, locate(args), DEV, argv))


def _enter(args: Args, location: ProjectLocation, container: str, argv: tuple[str, ...]) -> int:
    options = {"cwd": args.get_text("workdir") or None, "user": args.get_text("user") or None}
    return enter(args, location, container, argv, **options)


def enter(
    args: Args,
    location: ProjectLocation,
    container: str,
    argv: tuple[str, ...],
    *,
    cwd: str | None = None,
    user: str | None = None,
) -> int:
    """Run a command in a running container, through the fast path of the native engine or the engine protocol."""
    tty, env = is_tty(args), build_environment(args)
    if location.is_native:
        return run_in_container(location.paths, location.id, container, argv, tty=tty, env=env, cwd=cwd, user=user)
    from devbox.cli import engine_calls

    return engine_calls.execute(location, container, argv, tty=tty, env=env, cwd=cwd, user=user)


def _start(args: Args, container: str) -> None:
    from devbox import flow
    from devbox.cli.display.select import choose
    from devbox.cli.locate import open_from_args

    with choose(args.get_text("progress")) as display:
        flow.up(open_from_args(args), display, names=(container,))


def _check_exists(location: ProjectLocation, container: str) -> None:
    """Raise CannotRun if other containers run, but none of this name: `up` starts one of the file."""
    if location.is_native and not os.path.exists(location.paths.state(location.id)):
        return
    from devbox.cli import ps_rows

    names = [str(row["name"]) for row in ps_rows.read(location)]
    if not names or container in names:
        return
    known = _list_file_containers(location)
    if container in known:
        raise CannotRun(f"{container} is not running", remedy=f"devbox up {container}") from None
    raise CannotRun(f"container {container} not found", remedy=f"known: {', '.join(known or names)}") from None


def _list_file_containers(location: ProjectLocation) -> tuple[str, ...]:
    """Return the containers of the env file; () if the file cannot be read."""
    from devbox.project import open_project, prepare

    try:
        return tuple(prepare(open_project(location.root, file=location.env_file), keep=False).containers)
    except DevboxError:
        return ()


def _is_running(location: ProjectLocation, container: str) -> bool:
    from devbox.cli import ps_rows

    return any(row["name"] == container and row["pid"] for row in ps_rows.read(location))


def is_tty(args: Args) -> bool:
    """Return whether the command gets a terminal."""
    return terminal.is_interactive() and not args.get_flag("no_tty")


def build_environment(args: Args) -> dict[str, str]:
    """Return the variables of `-e`, and TERM on a terminal. An unset variable to pass on is left to the container."""
    env: dict[str, str] = {}
    if is_tty(args) and (kind := environ.get("TERM")):
        env["TERM"] = kind
    own = environ.copy_environment()
    for setting in args.get_texts("env"):
        name, given, value = setting.partition("=")
        if not name:
            raise UsageError(
                f'invalid value for -e: expected NAME[=VALUE], got "{setting}"', remedy="-e NAME=VALUE, or -e NAME"
            )
        if given:
            env[name] = value
        elif name in own:
            env[name] = own[name]
    return env
