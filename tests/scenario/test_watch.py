"""`up --watch`: a saved file restarts, signals or runs a task; an invalid env file does not end it, Ctrl-C does."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.machine import Box, wait_until

pytestmark = pytest.mark.scenario

FILE = """
[dev]
recipe = "debian"
command = "echo started >> /workspace/told; trap 'echo hup >> /workspace/told' HUP; while :; do sleep 0.05; done"
watch = [{ paths = ["app/**"] }, { paths = ["conf"], do = "signal:HUP" }, { paths = ["css/*"], do = "task:css" }]
[tasks]
css = "cat css/* >> told; test ! -e css/broken"
[service.web]
from = "dev"
command = ["sleep", "infinity"]
watch = [{ paths = ["web.conf"] }]
"""


@contextmanager
def watching(box: Box, project: Path) -> Iterator[Path]:
    """Run devbox in watch mode, with its output in a file."""
    said = project.parent / "said"
    with said.open("wb") as out:
        process = subprocess.Popen(
            box.argv("up", "--watch"),
            cwd=project,
            env=box.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=out,
            start_new_session=True,
        )
        try:
            _wait_for_a_reaction(project, said)
            yield said
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 130
    assert "stopped watching" in said.read_text()


def _wait_for_a_reaction(project: Path, said: Path) -> None:
    """The watch begins a moment after it says so: save until it notices, with pauses in which a batch may end."""
    wait_until(lambda: "watching" in said.read_text(), seconds=60, what="the watch")
    for _ in range(60):
        (project / "app/begin").write_text("x")
        with contextlib.suppress(AssertionError):
            wait_until(lambda: "restart dev" in said.read_text(), seconds=1)
            return
    pytest.fail(f"nothing was noticed: {said.read_text()}")


def test_saved_files_have_their_consequences(box: Box):
    project = box.project(FILE, files={"app/main": "1", "conf": "1", "css/a": "1", "web.conf": "1"})
    box._give(project)
    told = project / "told"
    box.ok("up", cwd=project)
    with watching(box, project) as said:
        before = box.ps(project)
        (project / "conf").write_text("2")
        wait_until(lambda: "hup" in told.read_text(), what="the signal")
        (project / "css/a").write_text("made\n")
        wait_until(lambda: "made" in told.read_text(), what="the task")
        (project / "css/broken").write_text("")
        wait_until(lambda: "css exited with code 1" in said.read_text(), what="the failed task to be told")
        (project / "devbox.toml").write_text(f"{FILE}[broken")
        wait_until(lambda: "keeping the previous rules" in said.read_text(), what="the mistake to be told")
        started = told.read_text().count("started")
        for number in range(50):
            (project / f"app/f{number}").write_text("x")
        wait_until(lambda: told.read_text().count("started") > started, what="the restart in spite of it")
        assert box.ps(project)["dev"]["pid"] == before["dev"]["pid"], "dev itself stands"
        (project / "devbox.toml").write_text(FILE)
        wait_until(lambda: "apply it with devbox up" in said.read_text(), what="the mended file")
        (project / "web.conf").write_text("2")
        wait_until(lambda: box.ps(project)["web"]["pid"] not in (None, before["web"]["pid"]), what="web's restart")
    assert {row["state"] for row in box.ps(project).values()} == {"running"}, "what is up stays up"


def test_a_file_that_watches_nothing_says_so_before_anything_is_started(box: Box):
    project = box.project('[dev]\nrecipe = "debian"\n')
    done = box.run("up", "--watch", cwd=project)
    assert done.returncode == 2
    assert b"missing watch rules" in done.stderr
    assert box.json("ps", cwd=project) == []
