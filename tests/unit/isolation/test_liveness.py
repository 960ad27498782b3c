"""Identification of a process beyond its pid."""

from __future__ import annotations

import os
import threading

from devbox.isolation import liveness


def test_a_thread_id_is_not_a_process() -> None:
    ask, answered, numbers = threading.Event(), threading.Event(), []

    def thread() -> None:
        numbers.append(threading.get_native_id())
        answered.set()
        ask.wait()

    other = threading.Thread(target=thread)
    other.start()
    answered.wait()
    try:
        assert liveness.open_pidfd(numbers[0]) is None
    finally:
        ask.set()
        other.join()


def test_a_process_that_was_reaped_is_gone() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    fd = liveness.open_pidfd(child)
    assert fd is not None
    os.close(fd)
    os.waitpid(child, 0)
    assert liveness.open_pidfd(child) is None
