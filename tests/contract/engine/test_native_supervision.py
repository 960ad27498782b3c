"""Further duties of the supervisor: helper processes, the size of logs, restarts, sidecars, open files."""

from __future__ import annotations

import os
import resource
import signal
import socket
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from contract.engine.backend import Backend
from contract.engine.test_lifecycle import until
from contract.engine.test_native_crash import kill_supervisor
from support.machine import wait_until
from support.supervisors import kill_for_good

from devbox.errors import EngineError
from devbox.host.paths import Paths
from devbox.isolation import liveness, logs, state
from devbox.isolation.start_supervisor import ensure_supervisor
from devbox.isolation.state import InstanceState
from devbox.isolation.supervisor import restart_policy
from devbox.model.container import Health, Isolation
from devbox.model.observed import BoundPort

_SECONDS = 60


def now(native: Backend, paths: Paths) -> InstanceState:
    found = state.read_state_file(paths, native.instance.id)
    assert found is not None
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as link:
            return link.recv(5) == b"hello"
    except OSError:
        return False


def test_a_killed_pasta_is_started_again_and_ports_answer(native: Backend, paths: Paths) -> None:
    port = free_port()
    published = {"a": (BoundPort(host=port, address="127.0.0.1", container=9000, protocol="tcp"),)}
    native.network("a", published=published)
    greet = "$s = IO::Socket::INET->new(Listen => 5, LocalPort => 9000); while ($c = $s->accept) { print $c q(hello) }"
    native.up("a", "perl", "-MIO::Socket::INET", "-e", greet)
    wait_until(lambda: answers(port), seconds=_SECONDS)
    for _ in range(2):
        pasta = now(native, paths).egress
        assert pasta is not None
        os.kill(pasta.pid, signal.SIGKILL)
        wait_until(lambda gone=pasta: now(native, paths).egress not in (None, gone), seconds=_SECONDS)
        wait_until(lambda: answers(port), seconds=_SECONDS)


def test_after_a_killed_holder_the_next_request_rebuilds_the_instance(native: Backend, paths: Paths) -> None:
    native.network("a", "b")
    first = native.up("a", "sh", "-c", "trap '' TERM; while :; do sleep 0.05; done", restart="always")
    native.up("b")
    before = now(native, paths)
    assert before.holder is not None
    os.kill(before.holder.pid, signal.SIGKILL)
    wait_until(lambda: not liveness.is_alive(before.supervisor), seconds=_SECONDS)
    view = native.engine.observe(native.instance)
    assert not view.supervised
    assert {seen.state for seen in view.containers.values()} == {"dead"}
    assert all("holder process of the instance's namespaces" in seen.reason for seen in view.containers.values())
    assert not any(trace.startswith(("process", "in a cgroup")) for trace in native.traces())
    native.network("a", "b")
    again = native.up("a")
    assert again.pid != first.pid
    assert native.engine.observe(native.instance).supervised


def test_a_holder_killed_with_its_supervisor_is_found_by_the_next(native: Backend, paths: Paths) -> None:
    native.network("a")
    first = native.up("a")
    before = now(native, paths)
    assert before.holder is not None
    assert first.pid is not None
    for process in (before.supervisor, before.holder):
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda killed=process: not liveness.is_alive(killed), seconds=_SECONDS)
    assert native.seen("a").state == "running", "it does, without a supervisor"
    native.network("a")
    assert liveness.identify(first.pid) is None
    assert native.up("a").pid != first.pid


def test_a_log_takes_a_bounded_part_of_the_disk(native: Backend, paths: Paths) -> None:
    native.network("a")
    line = "x" * 1000
    native.up("a", "sh", "-c", f"yes {line} | head -n 50000; echo the last line", kind="job")
    files = [paths.log(native.instance.id, "a") + end for end in ("", ".1")]
    assert sum(map(os.path.getsize, files)) < 2 * (logs.ROTATE_AT + 2 * 1024 * 1024)
    assert set(os.listdir(os.path.dirname(files[0]))) == {"a.log", "a.log.1"}
    assert native.log("a", tail=1) == ["the last line"]


@contextmanager
def restarts_failing(native: Backend, lower: Path, *, times: int) -> Iterator[None]:
    """A service that ended, and whose image is away: it has failed to start so often when this begins."""
    native.network("a")
    first = native.up("a", restart="always")
    assert first.pid is not None
    away = lower.rename(lower.with_name("away"))
    try:
        os.kill(first.pid, signal.SIGKILL)
        wait_until(lambda: native.seen("a").restarts >= times, seconds=_SECONDS)
        yield
    finally:
        away.rename(lower)


def test_a_restart_that_fails_is_tried_again(native: Backend, lower: Path) -> None:
    with restarts_failing(native, lower, times=3):
        wait_until(lambda: native.seen("a").state == "restarting", seconds=_SECONDS)
        assert str(lower) in native.seen("a").reason
    wait_until(lambda: native.seen("a").state == "running", seconds=_SECONDS)
    assert native.sh("a", "echo it is back") == ["it is back"]


def test_a_restart_that_fails_can_be_stopped(native: Backend, lower: Path) -> None:
    with restarts_failing(native, lower, times=2):
        native.engine.stop(native.instance, "a", timeout=1)
        assert native.seen("a").state == "exited"


def test_crashes_are_counted_and_slow_down(native: Backend) -> None:
    native.network("a")
    native.start("a", "sh", "-c", "exit 7", restart="on-failure")
    wait_until(lambda: native.seen("a").restarts >= 4, seconds=_SECONDS)
    seen = native.seen("a")
    assert (seen.exit_code, seen.reason) in ((7, "exit code 7"), (None, ""))  # between two crashes it runs
    wait_until(lambda: native.seen("a").state == "restarting", seconds=_SECONDS)
    native.engine.stop(native.instance, "a")
    assert native.seen("a").state == "exited"


def test_issue9_b7_a_crash_is_forgotten_after_a_stable_while(native: Backend, paths: Paths) -> None:
    native.network("a")
    first = native.up("a")
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: native.seen("a").pid not in (None, first.pid))
    began = time.monotonic()

    def is_remembered() -> bool:  # on a busy host the stable period may be over already
        return native.seen("a").crashes == 1 or time.monotonic() - began > restart_policy.STABLE

    assert is_remembered()
    kill_supervisor(native, paths)
    native.network("a")
    assert is_remembered(), "the next supervisor waits for it, too"
    ready = native.engine.wait_ready(native.instance, "a")
    assert (ready.state, ready.crashes, ready.restarts) == ("running", 0, 1)


def test_nothing_that_ended_stays_a_zombie_or_an_open_file(native: Backend, paths: Paths) -> None:
    native.network("a", "dev", "once")
    native.start("dev", "sleep", "infinity", supervised=("sh", "-c", "sleep 0.05 & exit 3"))
    native.up("a")

    def supervisor_has() -> tuple[int, list[str]]:
        pid = now(native, paths).supervisor.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as source:
            children = source.read().split()
        dead = [child for child in children if liveness.identify(int(child)) is None]
        return len(os.listdir(f"/proc/{pid}/fd")), dead

    def settled(most: int) -> bool:
        files, dead = supervisor_has()
        return files <= most and not dead

    files = supervisor_has()[0]
    for _ in range(5):
        native.engine.stop(native.instance, "a", timeout=0.0)
        native.up("a")
        assert native.once("once", "true") == 0
        native.sh("a", "sleep 0.01 & true")
    wait_until(lambda: settled(files + 1), seconds=_SECONDS)


def test_nothing_is_started_while_the_instance_goes_down(native: Backend) -> None:
    """A container that dies before its stop is not restarted, and a client's request to start one is refused."""
    native.network("quick", "slow", "late")
    quick = native.up("quick", "sh", "-c", "echo begun; exec sleep 1000", restart="always")
    native.up("slow", "sh", "-c", "trap 'echo asked' TERM; while :; do sleep 0.02; done", stop_timeout=2.0)
    with ThreadPoolExecutor() as pool:
        ended = pool.submit(native.engine.tear_down, native.instance, volumes=False)
        until(lambda: native.log("slow") == ["asked"])
        assert quick.pid is not None
        os.kill(quick.pid, signal.SIGKILL)
        with pytest.raises(EngineError, match="shutting down"):
            native.start("late")
        ended.result()
    assert native.log("quick") == ["begun"]


def companions(word: str) -> list[int]:
    """The processes that are the companion of this name."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as source:
                if source.read().split(b"\0")[:3] == [b"sleep", word.encode(), b""]:
                    found.append(int(name))
        except OSError:
            continue
    return found


def test_a_companion_runs_as_long_as_the_instance(native: Backend, paths: Paths) -> None:
    """Killed, it comes again; the next supervisor has one of its own; with the instance it goes."""
    word = f"77{os.getpid()}"
    native.network("a")
    native.up("a")
    native.engine.set_sidecar(native.instance, ("/bin/sh", "-c", f"exec sleep {word}"))
    wait_until(lambda: companions(word), seconds=_SECONDS)
    (first,) = companions(word)
    native.engine.set_sidecar(native.instance, ("/bin/sh", "-c", f"exec sleep {word}"))
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: companions(word) not in ([], [first]), seconds=_SECONDS)
    (second,) = companions(word)
    supervisor = now(native, paths).supervisor
    os.kill(supervisor.pid, signal.SIGKILL)
    wait_until(lambda: not liveness.is_alive(supervisor), seconds=_SECONDS)
    assert companions(word) == [second], "it goes on without a supervisor"
    native.network("a")
    wait_until(lambda: companions(word) not in ([], [second]), seconds=_SECONDS)
    assert len(companions(word)) == 1
    native.engine.tear_down(native.instance, volumes=False)
    assert companions(word) == []


def test_no_other_user_reads_a_container_s_files(native: Backend, paths: Paths) -> None:
    """A set-uid file would make everybody who can execute it root of the containers, or the user whose they are."""
    os.makedirs(paths.projects, exist_ok=True)
    os.chmod(paths.projects, 0o755)  # as an earlier devbox made it
    native.network("a")
    native.up("a")
    native.sh("a", "cp /bin/sh /other && chmod 4755 /other")
    written = f"{paths.writable_layer(native.instance.id, 'a')}/upper/other"
    assert os.stat(written).st_mode & stat.S_ISUID
    assert [stat.S_IMODE(os.stat(each).st_mode) for each in (paths.projects, paths.data)] == [0o700, 0o700]


def summon_with(paths: Paths, native: Backend, *, soft: int, hard: int) -> None:
    """A supervisor started from a shell with these limits of open files."""
    pid = os.fork()
    if pid == 0:
        try:
            os.closerange(3, 4096)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            ensure_supervisor(paths, native.instance.id).close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def test_a_low_limit_of_open_files_does_not_limit_the_containers(native: Backend, paths: Paths) -> None:
    """The supervisor raises its own limit; processes in containers keep the caller's."""
    soft, hard = 32, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    summon_with(paths, native, soft=soft, hard=hard)
    names = [f"a{number}" for number in range(12)]
    native.network("dev", *names)
    say = 'echo "$(ulimit -Sn) $(ulimit -Hn)"'
    native.up(
        "dev",
        "sh",
        "-c",
        f"{say} > /one; exec sleep infinity",
        supervised=("sh", "-c", f"{say} > /command; exec sleep 1000"),
        health=Health(command=("sh", "-c", f"test -s /command && {say} > /probe")),
    )
    for name in names:
        native.up(name)
    assert len(os.listdir(f"/proc/{now(native, paths).supervisor.pid}/fd")) > soft
    [one, *within] = native.sh("dev", "cat /one /command /probe")
    assert one == f"{min(hard, 65536)} {hard}"
    assert within in ([f"{soft} {hard}"] * 2, [one] * 2)  # crun leaves it as its caller has it; runc does not


def test_a_container_beyond_the_limit_is_refused_and_the_others_stay_supervised(native: Backend, paths: Paths) -> None:
    """They can be taken over as well: a supervisor has more files open for one that it did not start."""
    summon_with(paths, native, soft=40, hard=56)
    alone = Isolation(network="none")  # pasta needs more files
    for name in ("a", "b", "c", "d"):
        native.up(name, isolation=alone)
    with pytest.raises(EngineError, match="supervisor is 56: too low for 5 containers"):
        native.start("e", isolation=alone)
    kill_for_good(now(native, paths).supervisor.pid)
    wait_until(lambda: not state.read_state(paths, native.instance.id)[0], seconds=_SECONDS)
    summon_with(paths, native, soft=40, hard=56)
    native.engine.stop(native.instance, "a")
    assert native.seen("a").state == "exited"
    assert native.seen("d").state == "running"
