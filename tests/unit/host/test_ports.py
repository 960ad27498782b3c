"""The process that holds a port, and the disk usage of a tree."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from devbox.host.disk import format_size, measure_tree
from devbox.host.ports import find_holder


def bound(kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(socket.AF_INET, kind)
    made.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made


@pytest.mark.parametrize(("protocol", "kind"), [("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)])
def test_the_process_that_listens_is_named(protocol, kind):
    with bound(kind) as held:
        found = find_holder(held.getsockname()[1], protocol)
        assert found is not None
        assert (found.pid, found.uid, found.instance) == (os.getpid(), os.geteuid(), "")
        port = held.getsockname()[1]
    assert find_holder(port, protocol) is None


def test_a_program_of_an_instance_is_known_by_its_mark():
    code = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
    env = {**os.environ, "DEVBOX_SUPERVISED": "/run/devbox-0/0badcafe/0123456789ab"}
    argv = [sys.executable, "-c", code]
    with subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        found = find_holder(int(program.stdout.readline()), "tcp")
        program.communicate("\n")
    assert found is not None
    assert (found.pid, found.instance) == (program.pid, "0123456789ab")


def test_a_tree_has_the_size_of_its_files_and_links_are_not_followed(tmp_path):
    (tmp_path / "a").mkdir()
    before = measure_tree(str(tmp_path))
    (tmp_path / "a/data").write_bytes(b"x" * 100_000)
    (tmp_path / "out").symlink_to("/usr")
    assert 100_000 <= measure_tree(str(tmp_path)) - before < 120_000
    assert measure_tree(str(tmp_path / "nothing")) == 0


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (12e6, "12 MB"), (1.44e9, "1.4 GB")]
)
def test_sizes_for_people(size, text):
    assert format_size(size) == text
