"""The build sandbox: exit codes, ids on disk, and no process that survives the death of devbox."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.place import PATH

from devbox.isolation import idmap, sandbox
from devbox.isolation.types import IdMap, ProcessSpec


@pytest.fixture
def scratch(base: Path) -> Path:
    made = Path(tempfile.mkdtemp(dir=base))
    made.chmod(0o755)
    for name in ("top", "work"):
        (made / name).mkdir()
    return made


def _bake(ids: IdMap, lower: Path, scratch: Path, script: str, *, network: str = "none") -> int:
    """The pid of a worker that runs the script and ends with its code."""
    devbox = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        sandbox.enter(ids, parent=devbox)
        with open(scratch / "output", "wb") as output, open(os.devnull, "rb") as nothing:
            process = ProcessSpec(argv=("sh", "-c", script), env=(PATH,), cwd="/")
            instance = sandbox.start_instance(ids, work=sandbox.mount_scratch(str(scratch / "work")), network=network)
            code = sandbox.run(
                instance,
                process,
                lowers=(str(lower),),
                top=str(scratch / "top"),
                streams=(nothing.fileno(), output.fileno(), output.fileno()),
            )
            sandbox.stop_instance(instance)
        os._exit(code)
    finally:
        os._exit(99)


def _code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_it_gives_the_code_the_output_and_the_changes(ids: IdMap, lower: Path, scratch: Path):
    script = "echo said; echo wrong >&2; echo x > /etc/made; chown 33:34 /etc/made; exit 4"

    assert _code(_bake(ids, lower, scratch, script)) == 4

    made = (scratch / "top/upper/etc/made").stat()
    assert (scratch / "output").read_text() == "said\nwrong\n"
    assert (made.st_uid, made.st_gid) == (idmap.map_to_host(ids.uids, 33), idmap.map_to_host(ids.gids, 34))


def test_it_reaches_the_mirror_when_asked(ids: IdMap, lower: Path, scratch: Path):
    script = "apt-get -q update -o Acquire::Languages=none -o APT::Update::Error-Mode=any"

    assert _code(_bake(ids, lower, scratch, script, network="egress")) == 0, (scratch / "output").read_text()


def test_it_has_no_network_otherwise(ids: IdMap, lower: Path, scratch: Path):
    assert _code(_bake(ids, lower, scratch, "ls /sys/class/net | grep -v '^lo$'")) == 1


def test_it_dies_with_devbox(ids: IdMap, lower: Path, scratch: Path):
    """The worker's parent is killed while a container runs: every process of the sandbox goes."""
    mark = f"sleep 4{os.getpid()}"
    devbox = os.fork()
    if devbox == 0:
        _code(_bake(ids, lower, scratch, f"exec {mark}", network="egress"))
        os._exit(0)
    _eventually(lambda: _processes(mark))

    os.kill(devbox, signal.SIGKILL)
    os.waitpid(devbox, 0)

    _eventually(lambda: not _processes(mark) and not _processes(str(scratch)))


def test_it_ends_when_devbox_died_while_it_became_root_of_its_namespace(ids: IdMap, monkeypatch: pytest.MonkeyPatch):
    """A change of the user id clears the worker's parent-death signal."""
    (read_end, write_end), become_root = os.pipe(), idmap.become_root

    def become_root_alone() -> None:
        become_root()
        devbox = os.getppid()
        os.write(write_end, b"root")
        _eventually(lambda: os.getppid() != devbox)

    monkeypatch.setattr(idmap, "become_root", become_root_alone)  # as the moment is too short for anything else
    devbox = os.fork()
    if devbox == 0:
        parent = os.getpid()
        worker = os.fork()
        try:
            if worker == 0:
                sandbox.enter(ids._replace(rootless=True), parent=parent)
                os.write(write_end, b"it went on")
            else:
                os.waitpid(worker, 0)
        finally:
            os._exit(0)
    os.close(write_end)
    assert os.read(read_end, 100) == b"root"
    os.kill(devbox, signal.SIGKILL)
    os.waitpid(devbox, 0)
    assert os.read(read_end, 100) == b""
    os.close(read_end)


def _processes(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
            if text in command:
                found.append(command)
    return found


def _eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
