"""`exec`, `shell`, `run`: commands inside containers, on the caller's own streams. Light until something must start."""

from __future__ import annotations

import os

from devbox.cli import terminal
from devbox.cli.project import Place, locate
from devbox.errors import CANNOT_RUN, FAILED, CannotRun, DevboxError, UsageError
from devbox.host import environ
from devbox.isolation.inside.enter import enter
from devbox.isolation.inside.needs import needs_run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from devbox.cli.options import Args

DEV = "dev"
# bash where the image has it; both read the container's own set-up files.
SHELL = ("/bin/sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash; exec sh")


def execute(args: Args) -> int:
    """Run a command in a running container; its exit code."""
    return told_apart(_execute, args)


def shell(args: Args) -> int:
    """A shell in a container; what is not up is started first."""
    return told_apart(_shell, args)


def run(args: Args) -> int:
    """A task of the file in dev, or a one-shot container."""
    return told_apart(_run, args)


def told_apart(command: Callable[[Args], int], args: Args) -> int:
    """The child's code is returned; where devbox itself fails, an error says so with a code that is no child's 1."""
    try:
        return command(args)
    except DevboxError as error:
        if error.exit_code == FAILED:
            error.exit_code = CANNOT_RUN
        raise


def _execute(args: Args) -> int:
    container = args.text("container") or DEV
    if not args.after:
        raise UsageError("exec takes its command after --", remedy=f"devbox exec {container} -- COMMAND")
    place = locate(args)
    if place.stage:
        return _enter(args, place, _in_stage(args, place), args.after)
    try:
        return _enter(args, place, container, args.after)
    except CannotRun:
        _must_be_there(place, container)
        raise


def _shell(args: Args) -> int:
    place = locate(args)
    if place.stage:
        return _enter(args, place, _in_stage(args, place), SHELL)
    container = args.text("container") or DEV
    try:
        if needs_run(place.paths, place.id, container):
            return _enter(args, place, container, SHELL)
    except CannotRun:
        if _is_running(place, container):
            raise
    _start(args, container)
    return _enter(args, place, container, SHELL)


def _in_stage(args: Args, place: Place) -> str:
    from devbox.cli import stages

    return stages.container(args, place, args.text("container"))


def _run(args: Args) -> int:
    task = args.text("task")
    if task:
        return _task(args, task)
    if args.after:
        return _once(args, args.after)
    raise UsageError("run takes a task, or a command after --", remedy="devbox run TASK, or: devbox run -- COMMAND")


def _once(args: Args, argv: tuple[str, ...]) -> int:
    """Beside the running container whose like is wanted; what is not up is started first."""
    from devbox.isolation.inside.oneshot import run_beside

    place, options = locate(args), {"cwd": args.text("workdir") or None, "user": args.text("user") or None}
    source = _source(args)
    try:
        if needs_run(place.paths, place.id, source):
            return run_beside(place.paths, place.id, source, argv, tty=is_tty(args), env=environment(args), **options)
    except CannotRun:
        pass  # it does not run: the file says how it comes to
    return _once_from_file(args, argv)


def _once_from_file(args: Args, argv: tuple[str, ...]) -> int:
    from devbox import flow
    from devbox.cli.display.choose import choose
    from devbox.cli.project import opened
    from devbox.execute.oneshot import Command

    command = Command(argv=argv, env=environment(args), workdir=args.text("workdir"), user=args.text("user"))
    with choose(args.text("progress")) as display:
        return flow.run_once(opened(args), command, display, source=_source(args), tty=is_tty(args))


def _source(args: Args) -> str:
    """Whose image a one-shot runs: a base's, a service's, or dev's."""
    base, service = args.text("base"), args.text("service")
    if base and service:
        raise UsageError("--base and --service exclude each other", remedy="devbox run --base NAME -- COMMAND")
    return f"base.{base}" if base else service or DEV


def _task(args: Args, name: str) -> int:
    """Run a task in dev after the tasks it needs; the first failure ends it."""
    from devbox.cli import task

    if args.text("base") or args.text("service"):
        raise UsageError(
            "a task runs in dev; --base and --service are for one-shot containers",
            remedy=f"devbox run {name}, or a one-shot: devbox run -- COMMAND",
        )

    def start() -> None:
        place = locate(args)
        if not (_is_running(place, DEV) and needs_run(place.paths, place.id, DEV)):
            _start(args, DEV)

    return task.run(args, name, start=start, execute=lambda argv: _enter(args, locate(args), DEV, argv))


def _enter(args: Args, place: Place, container: str, argv: tuple[str, ...]) -> int:
    return enter(
        place.paths,
        place.id,
        container,
        argv,
        tty=is_tty(args),
        env=environment(args),
        cwd=args.text("workdir") or None,
        user=args.text("user") or None,
    )


def _start(args: Args, container: str) -> None:
    from devbox import flow
    from devbox.cli.display.choose import choose
    from devbox.cli.project import opened

    with choose(args.text("progress")) as display:
        flow.up(opened(args), display, names=(container,))


def _must_be_there(place: Place, container: str) -> None:
    """CannotRun if other containers run, but none of this name: one of the file is started by `up`."""
    if not os.path.exists(place.paths.state(place.id)):
        return
    from devbox.cli import rows

    names = [str(row["name"]) for row in rows.read(place)]
    if not names or container in names:
        return
    known = _names_of_file(place)
    if container in known:
        raise CannotRun(f"{container} is not running", remedy=f"devbox up {container}") from None
    raise CannotRun(f"container {container} not found", remedy=f"known: {', '.join(known or names)}") from None


def _names_of_file(place: Place) -> tuple[str, ...]:
    """The containers of the env file; () if it cannot be read."""
    from devbox.errors import DevboxError
    from devbox.opened import load, open_project

    try:
        return tuple(load(open_project(place.root, file=place.env_file), keep=False).containers)
    except DevboxError:
        return ()


def _is_running(place: Place, container: str) -> bool:
    from devbox.cli import rows

    return any(row["name"] == container and row["pid"] for row in rows.read(place))


def is_tty(args: Args) -> bool:
    """Whether what runs gets a terminal."""
    return terminal.is_interactive() and not args.flag("no_tty")


def environment(args: Args) -> dict[str, str]:
    """What `-e` asks for; a terminal's own kind goes along. One to pass on that is not set leaves the container's."""
    env: dict[str, str] = {}
    if is_tty(args) and (kind := environ.get("TERM")):
        env["TERM"] = kind
    own = environ.snapshot()
    for setting in args.many("env"):
        name, given, value = setting.partition("=")
        if not name:
            raise UsageError(f"-e {setting}: a variable has a name", remedy="-e NAME=VALUE, or -e NAME")
        if given:
            env[name] = value
        elif name in own:
            env[name] = own[name]
    return env
