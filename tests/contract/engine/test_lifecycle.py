"""Container lifecycle: start, readiness, crash, stop, removal, and what `observe` reports in each state."""

from __future__ import annotations

import os
import signal
import time

import pytest
from contract.engine.backend import Backend

from devbox.errors import EngineError, NotReady
from devbox.model.container import Health

FLAG = "test -e /flag"


def until(condition: object) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + 10
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_instance_that_never_was_is_empty(backend: Backend) -> None:
    view = backend.engine.observe(backend.instance)
    assert (view.supervised, view.standing, dict(view.containers)) == (False, False, {})


def test_a_service_is_ready_when_its_probe_says_so(backend: Backend) -> None:
    backend.network("a")
    health = Health(command=("sh", "-c", FLAG))
    backend.start("a", "sh", "-c", "sleep 0.2; touch /flag; exec sleep 1000", health=health)
    assert backend.seen("a").health == "starting"
    ready = backend.engine.wait_ready(backend.instance, "a")
    assert (ready.state, ready.health) == ("running", "healthy")
    assert backend.sh("a", FLAG) == []


def test_a_service_that_is_not_ready_in_time_is_an_error_with_its_log(backend: Backend) -> None:
    backend.network("a")
    health = Health(command=("false",), start_period=0.2)
    with pytest.raises(NotReady) as raised:
        backend.up("a", "sh", "-c", "echo cannot find my data; exec sleep 1000", health=health)
    assert "cannot find my data" in raised.value.details


def test_a_service_that_crashes_again_and_again_is_not_waited_for(backend: Backend) -> None:
    backend.network("a")
    with pytest.raises(NotReady) as raised:
        backend.up("a", "sh", "-c", "echo no configuration; exit 3", health=Health(tcp=True, port=1))
    assert "exit code 3" in raised.value.sentence
    assert "no configuration" in raised.value.details


@pytest.mark.parametrize("health", [Health(tcp=True, port=9000), Health(http="/", port=9000)])
def test_a_probe_reaches_the_service_over_the_network(backend: Backend, health: Health) -> None:
    backend.network("a")
    answer = r"print $c qq(HTTP/1.0 200 OK\r\n\r\n) if sysread($c, $b, 9)"
    serve = f"$s = IO::Socket::INET->new(Listen => 5, LocalPort => 9000) or die; while ($c = $s->accept) {{ {answer} }}"
    assert backend.up("a", "perl", "-MIO::Socket::INET", "-e", serve, health=health).health == "healthy"


def test_a_job_is_waited_for_to_its_end(backend: Backend) -> None:
    backend.network("good", "bad")
    done = backend.up("good", "true", kind="job")
    assert (done.state, done.exit_code) == ("exited", 0)
    with pytest.raises(NotReady):
        backend.up("bad", "sh", "-c", "exit 9", kind="job")
    assert backend.seen("bad").exit_code == 9


def test_a_command_that_is_not_there_is_named(backend: Backend) -> None:
    backend.network("a")
    with pytest.raises(NotReady) as raised:
        backend.up("a", "no-such-program", kind="job")
    assert "No such file" in raised.value.details


def test_starting_what_runs_changes_nothing(backend: Backend) -> None:
    backend.network("a")
    first = backend.up("a")
    backend.start("a")
    assert backend.seen("a").pid == first.pid


def test_another_container_of_a_running_name_is_refused(backend: Backend) -> None:
    backend.network("a")
    backend.up("a")
    with pytest.raises(EngineError):
        backend.start("a", "sleep", "2000")


def test_a_crashed_service_is_started_again(backend: Backend) -> None:
    backend.network("a")
    first = backend.up("a", restart="on-failure")
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: backend.seen("a").restarts == 1 and backend.seen("a").state == "running")
    assert backend.seen("a").pid != first.pid


def test_stop_sends_the_service_s_stop_signal(backend: Backend) -> None:
    backend.network("a")
    backend.up("a", "sh", "-c", "trap 'exit 5' INT; while :; do sleep 0.02; done", stop_signal="INT")
    backend.engine.stop(backend.instance, "a")
    stopped = backend.seen("a")
    assert (stopped.state, stopped.exit_code, stopped.pid) == ("exited", 5, None)


def test_stop_kills_what_does_not_listen(backend: Backend) -> None:
    backend.network("a")
    backend.up("a", "sh", "-c", "trap '' TERM; while :; do sleep 0.02; done")
    backend.engine.stop(backend.instance, "a", timeout=0.1)
    stopped = backend.seen("a")
    assert (stopped.state, stopped.exit_code) == ("exited", 137)
    assert "SIGKILL" in stopped.reason


def test_a_stopped_container_can_be_started_again(backend: Backend) -> None:
    backend.network("a")
    backend.up("a")
    backend.engine.stop(backend.instance, "a")
    assert backend.up("a").state == "running"


def test_a_removed_container_is_forgotten(backend: Backend) -> None:
    backend.network("a")
    backend.up("a")
    backend.engine.remove(backend.instance, "a")
    assert "a" not in backend.engine.observe(backend.instance).containers
    backend.engine.remove(backend.instance, "a")
