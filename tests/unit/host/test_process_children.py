"""Terminating the child processes of this process."""

from __future__ import annotations

import signal
import subprocess
import sys

from devbox.host import process

_PROBE = """
import signal, subprocess, sys, threading
from devbox.host import process as programs
signal.signal(signal.SIGINT, signal.SIG_DFL)  # whatever started the tests: a shell's jobs ignore it
started = []
def start(*argv):
    process = subprocess.Popen(argv, stdout=subprocess.PIPE)
    process.stdout.readline()
    started.append(process)
try:
    start("sh", "-c", "echo; exec sleep 60")
    stubborn = "trap '' INT; echo; for n in $(seq 300); do sleep 0.1; done"  # exits if this probe is killed
    thread = threading.Thread(target=start, args=("sh", "-c", stubborn))
    thread.start(); thread.join()
    programs.end_children()
    print(*(process.wait(timeout=10) for process in started))
finally:
    for process in started:
        process.kill()
"""


def test_all_children_are_interrupted_and_those_that_ignore_it_are_killed():
    done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == [str(-signal.SIGINT), str(-signal.SIGTERM)]


def test_without_any_nothing_happens():
    process.end_children()
