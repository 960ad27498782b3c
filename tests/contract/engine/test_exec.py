"""Commands in running containers, and one-shots next to them."""

from __future__ import annotations

import pytest
from contract.engine.backend import Backend

from devbox.errors import CANNOT_RUN, CannotRun


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "exit 255"), 255),
        (("/etc/passwd",), 126),
        (("no-such-program",), 127),
        (("/no/such/program",), 127),
        (("sh", "-c", "kill -TERM $$"), 143),
    ],
)
def test_exec_gives_the_exit_code_of_its_command(backend: Backend, argv: tuple[str, ...], code: int) -> None:
    backend.network("a")
    backend.up("a")
    assert backend.engine.exec(backend.instance, "a", argv, env={}) == code


def test_exec_adds_to_the_environment_of_the_container(backend: Backend) -> None:
    backend.network("a")
    backend.up("a", env={"OWN": "1", "BOTH": "1"})
    lines = backend.sh("a", 'echo "$OWN $BOTH $MORE $HOME"', BOTH="2", MORE="two\nlines")
    assert lines == ["1 2 two", "lines /root"]


def test_exec_gains_no_privileges(backend: Backend) -> None:
    backend.network("a")
    backend.up("a")
    assert backend.sh("a", "grep NoNewPrivs /proc/self/status") == ["NoNewPrivs:\t1"]
    assert backend.sh("a", "grep NoNewPrivs /proc/self/status", A="1") == ["NoNewPrivs:\t1"]


def test_exec_in_what_does_not_run_says_what_to_do(backend: Backend) -> None:
    backend.network("a")
    with pytest.raises(CannotRun) as raised:
        backend.engine.exec(backend.instance, "a", ("true",), env={})
    assert raised.value.exit_code == CANNOT_RUN
    assert "devbox up" in raised.value.remedy


def test_a_container_runs_as_the_user_it_names(backend: Backend) -> None:
    backend.network("a")
    backend.up("a", user="www-data")
    assert backend.sh("a", "id -un; id -gn") == ["www-data", "www-data"]


def test_a_one_shot_returns_its_exit_code_and_is_removed(backend: Backend) -> None:
    backend.network("a")
    backend.up("a")
    assert backend.once("once", "sh", "-c", "getent hosts a && getent hosts once && exit 4") == 4
    assert set(backend.engine.observe(backend.instance).containers) == {"a"}


@pytest.mark.parametrize(("argv", "code"), [(("no-such-program",), 127), (("/etc/passwd",), 126)])
def test_a_one_shot_tells_apart_why_it_could_not_run(backend: Backend, argv: tuple[str, ...], code: int) -> None:
    backend.network("a")
    assert backend.once("once", *argv) == code
