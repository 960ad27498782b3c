"""Parts of a ContainerSupervisor with a real loop and real processes: command, health check, a failed start."""

from __future__ import annotations

import os
from pathlib import Path

from devbox.host.paths import Paths
from devbox.isolation.supervisor import restart_policy
from devbox.isolation.supervisor.container import ContainerSupervisor, SupervisorContext
from devbox.isolation.supervisor.health import HealthCheck
from devbox.isolation.supervisor.loop import Loop
from devbox.isolation.supervisor.sockets import ListeningSockets
from devbox.isolation.supervisor.workload import SupervisedCommand
from devbox.isolation.types import (
    IdMap,
    InstanceContext,
    Launch,
    Probe,
    ProcessRef,
    ProcessSpec,
    Range,
    SupervisedContainer,
)


def program(*argv: str) -> int:
    return os.posix_spawnp(argv[0], argv, os.environ)


def spawner(pid_file: str) -> int:
    """As the runtime does it: start the process, write its pid, end."""
    started = program("sleep", "60")
    return program("sh", "-c", f"echo {started} > {pid_file}")


def yes() -> bool:
    return True


def nothing() -> None:
    """Ignore a state change."""


def test_a_restart_waits_for_the_start_under_way(loop: Loop, tmp_path: Path) -> None:
    spawned: list[str] = []

    def spawn(pid_file: str) -> int:
        spawned.append(pid_file)
        return spawner(pid_file)

    def changed() -> None:
        if command.process is not None:
            loop.stop()

    command = SupervisedCommand(
        loop, "no", spawn, f"{tmp_path}/pid", stands=yes, why=restart_policy.describe_exit, changed=changed
    )
    command.start()
    command.restart()
    assert len(spawned) == 1
    loop.run()
    assert len(spawned) == 2
    assert command.process is not None
    command.finish(loop.stop)
    loop.run()


def test_a_command_that_no_process_is_left_for_is_a_crash(loop: Loop, tmp_path: Path) -> None:
    def spawn(_: str) -> int:
        raise BlockingIOError

    command = SupervisedCommand(
        loop, "on-failure", spawn, f"{tmp_path}/pid", stands=yes, why=restart_policy.describe_exit, changed=nothing
    )
    command.start()
    assert command.exit_code
    assert command.restarts == 1


def test_a_command_that_fails_in_a_container_that_is_ending_did_not_crash(loop: Loop, tmp_path: Path) -> None:
    standing = [True]

    def spawn(_: str) -> int:
        standing.clear()
        return program("false")

    def stands() -> bool:
        return bool(standing)

    pid_file = f"{tmp_path}/pid"
    command = SupervisedCommand(
        loop, "on-failure", spawn, pid_file, stands=stands, why=restart_policy.describe_exit, changed=nothing
    )
    command.start()
    loop.call_later(0.5, loop.stop)
    loop.run()
    assert (command.restarts, command.reason) == (0, "")


def test_a_probe_that_can_not_start_is_tried_again(loop: Loop) -> None:
    attempts: list[int] = []

    def spawn(output: int) -> int:
        attempts.append(output)
        if len(attempts) == 1:
            raise BlockingIOError
        return program("true")

    health = HealthCheck(loop, Probe(argv=("true",)), spawn, loop.stop)
    assert health.state == "starting"
    assert "cannot start the health check" in health.complaint
    loop.run()
    assert health.state == "healthy"
    health.stop()


def test_a_start_that_the_system_refuses_is_dead_and_said(loop: Loop, tmp_path: Path) -> None:
    paths = Paths(str(tmp_path / "home"), str(tmp_path / "run"))
    for directory in (paths.supervisor_files("i"), paths.instance_runtime("i"), os.path.dirname(paths.fifo("i", "a"))):
        os.makedirs(directory, exist_ok=True)
    (tmp_path / "file").write_text("")
    same = (Range(0, 0, 1),)
    context = InstanceContext(
        instance="i",
        run_dir=str(tmp_path / "file"),  # nothing can be made below it
        oci_root=str(tmp_path / "oci"),
        runtime="crun",
        init="catatonit",
        idmap=IdMap(rootless=False, uids=same, gids=same),
        holder=ProcessRef(os.getpid(), 0),
    )
    launch = Launch(
        name="a", oci_id="i-a", lowers=(), top=str(tmp_path / "top"), process=ProcessSpec(argv=(), env=(), cwd="/")
    )
    item = SupervisedContainer(launch, "service", "", "", "", "", log=str(tmp_path / "a.log"))
    container, said = (
        ContainerSupervisor(
            SupervisorContext(loop, paths, context, lambda: None, ListeningSockets(loop, paths, context)), item
        ),
        [],
    )
    container.start(said.append)
    assert "cannot start" in str(said[0])
    assert container.row.state == "dead"
    assert container.is_gone
    container.forget()


def test_a_probe_that_is_given_up_says_so_and_not_how_its_shell_was_killed(loop: Loop) -> None:
    def spawn(output: int) -> int:
        script = "sleep 60; true"
        return os.posix_spawnp("sh", ("sh", "-c", script), os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, output, 2)])

    health = HealthCheck(loop, Probe(argv=("true",), timeout=0.1, start_period=0.0), spawn, loop.stop)
    loop.run()
    assert (health.state, health.complaint) == ("unhealthy", "no answer in 0.1 s")
    health.stop()
