"""A one-shot container: on the caller's own streams, a guest in the instance's network, gone when it ends."""

from __future__ import annotations

import contextlib
import os

from devbox.errors import CannotRun, EngineError
from devbox.host.paths import Paths
from devbox.isolation import launchfile, summon
from devbox.isolation.inside import agent, attached, enter, passing
from devbox.isolation.types import Context, Launch, NetNode, Reach, pack, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from devbox.isolation.client import Client


def run(paths: Paths, instance: str, container: Launch, *, connected: bool) -> int:
    """Run it to its end; its exit code. CannotRun where nobody supervises the instance."""
    return _run_as_guest(_supervisor(paths, instance, container.name), container, connected=connected)


def _supervisor(paths: Paths, instance: str, container: str) -> Client:
    supervisor = summon.reach(paths, instance)
    if supervisor is None:
        raise CannotRun(f"{container} is not supervised", remedy="devbox up")
    return supervisor


def _run_as_guest(supervisor: Client, container: Launch, *, connected: bool) -> int:
    """Run it under a lease of the instance's supervisor, which cleans up after it, even after a kill -9."""
    asked = {"name": container.name, "oci_id": container.oci_id, "top": container.top}
    reach = Reach(container.host_ports, container.egress)
    answer = supervisor.call("lease", **asked, joined=container.joins is not None, reach=pack(reach))
    node = unpack(NetNode, answer["node"]) if connected else None
    signals = passing.PassedOn()
    try:
        run_it = _joined if container.joins else attached.run_attached
        return run_it(unpack(Context, answer["context"]), container._replace(network=node), on_start=signals.to)
    finally:
        signals.end()
        with contextlib.suppress(EngineError):  # it was killed: the next one cleans up when it sees this process end
            supervisor.call("release", name=container.name)
        supervisor.close()


def _joined(context: Context, container: Launch, *, on_start: Callable[[int], None]) -> int:
    from devbox.isolation.inside import joined

    return joined.run_joined(context, container, on_start=on_start)


def run_beside(
    paths: Paths,
    instance: str,
    source: str,
    argv: tuple[str, ...],
    *,
    tty: bool,
    env: Mapping[str, str],
    cwd: str | None = None,
    user: str | None = None,
) -> int:
    """Run a container that is like the running container `source`, but for its command and its own fresh top.

    `env` is added to that container's; `cwd` and `user` default to its own. CannotRun when `source` does not run, or
    nobody supervises it.
    """
    entry = enter.read_entry(paths.entry(instance, source), source)
    item = launchfile.load(paths, instance, source)
    if item is None:
        raise CannotRun(f"{source} is not supervised", remedy="devbox up")
    like = item.launch
    agent.follow(paths, instance)
    ids, groups = enter.ids(user, entry)
    if user is not None:
        env = {"HOME": enter.home(ids, entry), **env}
    uid, _, gid = ids.partition(":")
    supervisor = _supervisor(paths, instance, source)
    container = _variant(like, paths, instance, argv, env)
    process = container.process._replace(cwd=cwd or entry["cwd"], uid=int(uid), gid=int(gid), groups=groups)
    if tty:
        columns, rows = terminal_size()
        process = process._replace(tty=True, rows=rows, columns=columns)
    return _run_as_guest(supervisor, container._replace(process=process), connected=like.network is not None)


def terminal_size() -> tuple[int, int]:
    """Columns and rows of the terminal on standard output; zeros where there is none."""
    try:
        columns, rows = os.get_terminal_size(1)
    except OSError:
        return 0, 0
    return columns, rows


def _variant(like: Launch, paths: Paths, instance: str, argv: tuple[str, ...], env: Mapping[str, str]) -> Launch:
    name = f"run-{os.getpid()}"
    top = paths.top(instance, name)
    os.makedirs(top, mode=0o711, exist_ok=True)
    names = tuple(f"{variable}=" for variable in env)
    kept = [variable for variable in like.process.env if not variable.startswith(names)]
    variables = (*kept, *(f"{variable}={value}" for variable, value in env.items()))
    process = like.process._replace(argv=argv, env=variables)
    return like._replace(name=name, oci_id=f"{instance}-{name}", top=top, process=process)
