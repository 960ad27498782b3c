"""A matrix of 200 cells: each is reported, and devbox's memory does not grow with their number."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest
from support.machine import Box

pytestmark = [pytest.mark.scenario, pytest.mark.long]

FILE = """
[vars]
x = "0"
y = "0"

[base.os]
recipe = "debian"

[test]
from = "os"
command = "echo $X $Y; test $X != 7"
env = { X = "${x}", Y = "${y}" }
"""
MOST_MEMORY = 80 << 20  # bytes; it was 49 MiB
MOST_MORE_FILES = 4  # open at the end, in addition to what was open after the first cells


class Watcher(threading.Thread):
    """Sample memory and open files of a process while it runs."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._place = Path(f"/proc/{pid}")
        self.peak = 0
        self.open: list[int] = []
        self.children: list[int] = []
        self._pause = threading.Event()

    def run(self) -> None:
        while not self._pause.wait(0.25):
            try:
                facts = (self._place / "status").read_text()
                self.open.append(len(os.listdir(self._place / "fd")))
                self.children.append(len((self._place / "task" / self._place.name / "children").read_text().split()))
            except OSError:
                return
            if "VmHWM" in facts:
                self.peak = int(facts.split("VmHWM:")[1].split()[0]) * 1024


def test_two_hundred_cells(box: Box):
    if box.user is not None:
        pytest.skip("devbox is then a child of what becomes the user: its memory is not to be told")
    axes = "\n[test.matrix]\nx = [{}]\ny = [{}]\n".format(
        ", ".join(f'"{n}"' for n in range(20)), ", ".join(f'"{n}"' for n in range(10))
    )
    path = box.project(FILE + axes, "many")
    assert box.run("test", "-k", "x=0 and y=0", cwd=path).returncode == 0
    running = subprocess.Popen(
        box.argv("test", "--json", "--report", str(path / "junit.xml")),
        cwd=path,
        env=box.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    watcher = Watcher(running.pid)
    watcher.start()
    stdout, _ = running.communicate(timeout=900)
    assert running.returncode == 1
    cells = json.loads(stdout)["cells"]
    assert [cell["name"] for cell in cells] == [f"x={x},y={y}" for x in range(20) for y in range(10)]
    assert {cell["name"] for cell in cells if cell["state"] == "failed"} == {f"x=7,y={y}" for y in range(10)}
    assert sum(cell["state"] == "passed" for cell in cells) == 189
    assert (path / "junit.xml").read_text().count("<testcase") == 200
    assert watcher.peak < MOST_MEMORY, f"{watcher.peak >> 20} MiB"
    half = len(watcher.open) // 2
    assert max(watcher.open[half:]) <= max(watcher.open[:half]) + MOST_MORE_FILES
    assert max(watcher.children[half:]) <= max(watcher.children[:half]) + MOST_MORE_FILES

    done = box.run("test", "--json", cwd=path)
    states = [cell["state"] for cell in json.loads(done.stdout)["cells"]]
    assert (states.count("cached"), states.count("failed")) == (190, 10)
