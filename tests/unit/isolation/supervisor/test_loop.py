"""The poll loop: descriptors, timers, children."""

from __future__ import annotations

import errno
import io
import os

import pytest

from devbox.isolation.supervisor.loop import Loop


def child(code: int) -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(code)
    return pid


def test_timers_ring_in_their_order(loop: Loop) -> None:
    heard: list[int] = []
    loop.call_later(0.02, loop.stop)
    loop.call_later(0.01, lambda: heard.append(2))
    loop.call_later(0, lambda: heard.append(1))
    loop.call_later(0, lambda: heard.append(9)).cancel()
    loop.run()
    assert heard == [1, 2]


def test_a_ready_descriptor_calls_back_until_it_is_unwatched(loop: Loop) -> None:
    read_end, write_end = os.pipe()
    heard: list[bytes] = []

    def read() -> None:
        heard.append(os.read(read_end, 1))
        if len(heard) == 2:
            loop.unwatch(read_end)
            loop.call_later(0, loop.stop)

    loop.watch(read_end, read)
    os.write(write_end, b"abc")
    loop.run()
    assert heard == [b"a", b"b"]
    os.close(read_end)
    os.close(write_end)


def test_a_number_that_was_given_away_is_not_called_for_what_had_it_before(loop: Loop) -> None:
    """Both are ready in one round; the first callback closes the second, whose number another pipe gets."""
    ends = [os.pipe() for _ in range(3)]
    first, second, third = (read_end for read_end, _ in ends)
    heard: list[str] = []

    def replace() -> None:
        loop.unwatch(first)
        loop.unwatch(second)
        os.dup2(third, second)
        loop.watch(second, lambda: heard.append("nothing was written into it"))
        loop.call_later(0.01, loop.stop)

    loop.watch(first, replace)
    loop.watch(second, lambda: heard.append("it is closed"))
    for _, write_end in ends[:2]:
        os.write(write_end, b"x")
    loop.run()
    assert not heard
    for fd in (number for pair in ends for number in pair):
        os.close(fd)


def test_the_exit_of_a_child_is_reported_with_its_status(loop: Loop) -> None:
    heard: list[int | None] = []

    def ended(status: int | None) -> None:
        heard.append(status)
        loop.stop()

    loop.watch_child(child(3), ended)
    loop.run()
    assert [os.waitstatus_to_exitcode(status or 0) for status in heard] == [3]


def test_an_exit_before_watch_child_is_kept(loop: Loop) -> None:
    pid = child(4)
    heard: list[int | None] = []

    def ask() -> None:
        loop.watch_child(pid, lambda status: (heard.append(status), loop.stop())[1])

    def ask_late(_: int | None) -> None:
        loop.call_later(0, ask)

    loop.watch_child(child(0), ask_late)
    loop.run()
    assert [os.waitstatus_to_exitcode(status or 0) for status in heard] == [4]


def test_the_end_of_a_stranger_has_no_status(loop: Loop) -> None:
    (read_end, write_end), told = os.pipe(), os.pipe()
    middle = os.fork()
    if middle == 0:
        stranger = os.fork()
        if stranger == 0:
            os.close(write_end)
            os.read(read_end, 1)
            os._exit(0)
        os.write(told[1], str(stranger).encode())
        os._exit(0)
    os.waitpid(middle, 0)
    pid = int(os.read(told[0], 20))
    heard: list[int | None] = []
    loop.watch_process(pid, lambda status: (heard.append(status), loop.stop())[1])
    os.write(write_end, b"x")
    loop.run()
    assert heard == [None]
    for fd in (read_end, write_end, *told):
        os.close(fd)


def test_a_faulty_callback_does_not_end_the_others(loop: Loop, capsys: pytest.CaptureFixture[str]) -> None:
    loop.call_later(0, lambda: 1 / 0)
    loop.call_later(0.01, loop.stop)
    loop.run()
    assert "ZeroDivisionError" in capsys.readouterr().err


class Full(io.StringIO):
    """A file on a disk that is full."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_fault_that_can_not_be_written_down_does_not_end_the_others(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", Full())
    loop.call_later(0, lambda: 1 / 0)
    loop.call_later(0.01, loop.stop)
    loop.run()
