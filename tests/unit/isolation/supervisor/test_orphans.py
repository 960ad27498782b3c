"""The owner of a process that no record names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devbox.isolation.namespaces import get_pasta_pid_file
from devbox.isolation.supervisor import orphans


@contextmanager
def pasta(run_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with the arguments of an instance's pasta, and no other evidence."""
    words = ["-c", "print(flush=True); input()", "-P", get_pasta_pid_file(str(run_dir))]
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, *words], env={}, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()  # before that, the kernel may not show its words yet
            yield process
        finally:
            process.kill()


def test_an_unrecorded_pasta_process_is_found_by_its_arguments(tmp_path: Path) -> None:
    ours, other = tmp_path / "a", tmp_path / "ab"
    with pasta(ours) as kept, pasta(ours) as lost, pasta(other) as stranger:
        orphans.kill_orphans(str(ours), keep=[kept.pid])
        assert lost.wait(timeout=10) == -9
        assert (kept.poll(), stranger.poll()) == (None, None)
