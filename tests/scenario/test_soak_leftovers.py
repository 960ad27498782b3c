"""The soak's final check detects leftovers: each kind is left on purpose and must be reported."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from soak import truth
from soak.remains import Remains
from support.machine import Box, destroy, host_network, lacking, make_box

from devbox.host.paths import hash_name

pytestmark = pytest.mark.scenario


@pytest.fixture(scope="module")
def place() -> Iterator[Box]:
    """A box in which nothing was ever up."""
    box = make_box("root-crun")
    yield box
    destroy(box)


@pytest.fixture
def remains(place: Box, tmp_path: Path) -> Remains:
    return Remains(place, tmp_path)


@contextmanager
def process(*argv: str, name: str, holds: int = 2) -> Iterator[subprocess.Popen[bytes]]:
    """A process that says when it is ready, with nothing in its environment but a name, and a descriptor."""
    running = subprocess.Popen(argv, stdout=subprocess.PIPE, env={"NAME": name}, pass_fds=[holds])
    try:
        assert running.stdout is not None
        running.stdout.readline()
        yield running
    finally:
        running.kill()
        running.communicate()


def found(remains: Remains, before: set[str], kind: str) -> list[str]:
    return [each for each in remains.now() - before if each.startswith(kind)]


def sleeping() -> list[str]:
    return ["/bin/sh", "-c", "echo; exec sleep 1000"]


def test_a_process(place: Box, remains: Remains) -> None:
    before = remains.now()
    with process(*sleeping(), name=str(place.home)) as left:
        assert found(remains, before, f"process {left.pid} ")
    assert remains.now() == before


def test_issue9_b10_the_copied_mounts_of_another_engine_are_not_left(place: Box, remains: Remains) -> None:
    before = remains.now()
    target = place.home / "mounted"
    target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", target], check=True)
    daemon = ["unshare", "--mount", "--propagation", "private", *sleeping()]
    with process(*daemon, name="engine"):
        subprocess.run(["umount", target], check=True)
        target.rmdir()
        assert remains.now() == before


@pytest.mark.parametrize("below", ["home", "runtime"])
def test_a_mount(place: Box, remains: Remains, tmp_path: Path, below: str) -> None:
    before = remains.now()
    target = place.home / "mounted" if below == "home" else tmp_path / hash_name(str(place.home)) / "mounted"
    target.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", target], check=True)
    try:
        assert found(remains, before, "mount ") == [f"mount {target}"]
    finally:
        subprocess.run(["umount", target], check=True)
        target.rmdir()
        if below != "home":
            target.parent.rmdir()
    assert remains.now() == before


def test_a_cgroup(place: Box, remains: Remains) -> None:
    before = remains.now()
    root = next(path for path in map(Path, ("/sys/fs/cgroup/pids", "/sys/fs/cgroup")) if path.is_dir())
    group = root / "devbox" / hash_name(str(place.home)) / "abc"
    group.mkdir(parents=True)
    try:
        assert found(remains, before, "cgroup ") == [f"cgroup {group}"]
    finally:
        group.rmdir()
        group.parent.rmdir()


@pytest.mark.parametrize("where", ["home", "scraps", "runtime"])
def test_a_file(place: Box, remains: Remains, tmp_path: Path, where: str) -> None:
    before = remains.now()
    runtime = Path("/dev/shm/devbox-0") / hash_name(str(place.home))
    path = {"home": place.home / "left", "scraps": tmp_path / "left", "runtime": runtime / "left"}[where]
    path.mkdir(parents=True)
    try:
        assert [each for each in remains.now() - before if each.endswith(str(path))]
    finally:
        path.rmdir()
        if where == "runtime":
            runtime.rmdir()


def test_a_port_that_another_process_has_taken(place: Box, remains: Remains) -> None:
    before = remains.now()
    with socket.create_server(("127.0.0.1", 0)) as server, process(*sleeping(), name="else", holds=server.fileno()):
        port = server.getsockname()[1]
        with process(*sleeping(), name=str(place.home), holds=server.fileno()):
            remains.note()
        server.close()
        assert found(remains, before, "port ") == [f"port tcp {port}"]
    assert remains.now() == before


@pytest.mark.parametrize("by", ["process", "descriptor", "mount"])
def test_a_network_namespace(place: Box, remains: Remains, by: str) -> None:
    before = remains.now()
    with process("unshare", "--net", *sleeping(), name=str(place.home)) as owner:
        remains.note()
        space = f"/proc/{owner.pid}/ns/net"
        ways = {
            "process": ["nsenter", f"--net={space}", *sleeping()],
            "descriptor": ["/bin/sh", "-c", f"exec 3<{space}; echo; exec sleep 1000"],
            "mount": [
                "unshare",
                "--mount",
                "/bin/sh",
                "-c",
                f"mount --bind {space} /etc/hostname; echo; exec sleep 1000",
            ],
        }
        with process(*ways[by], name="somebody else"):
            owner.kill()
            owner.wait()
            assert found(remains, before, "network namespace ")
    assert remains.now() == before


def test_a_namespace_that_reuses_the_inode_of_a_former_one_is_another(place: Box, remains: Remains) -> None:
    """The next namespace, which may be another test's, gets the number again: then this test takes another number."""
    before = remains.now()
    for _ in range(20):
        with process("unshare", "--net", *sleeping(), name=str(place.home)) as owner:
            if not truth.identity(f"/proc/{owner.pid}/ns/net").startswith("id "):
                lacking("this kernel has no ids of namespaces")
            remains.note()
            number = truth.link(owner.pid, "net")
        with ExitStack() as others:
            is_given_again = _make_namespaces_until(number, others)
            assert remains.now() == before
        if is_given_again:
            return
    pytest.fail("a process outside this test got the number, twenty times")


def _make_namespaces_until(number: str, others: ExitStack) -> bool:
    """Make up to twenty network namespaces; True if one of them has this number."""
    for _ in range(20):
        other = others.enter_context(process("unshare", "--net", *sleeping(), name="somebody else"))
        if truth.link(other.pid, "net") == number:
            return True
    return False


@pytest.mark.parametrize(
    "words", [["nft", "add", "table", "inet", "devbox"], ["ip", "link", "add", "devbox0", "type", "bridge"]]
)
def test_a_change_of_the_hosts_network(words: list[str]) -> None:
    """In a network namespace that represents the host's: no other test may see it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.unshare(os.CLONE_NEWNET)
            assert not host_network()
            subprocess.run(words, check=True)
            code = 0 if len(host_network()) == 1 else 2
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
