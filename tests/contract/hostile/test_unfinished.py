"""Unfinished files of killed writers are removed by the next write, since they may contain keys and variables."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devbox.attest import keys as crypto
from devbox.host import files
from devbox.host.paths import Paths
from devbox.model.ledger import INTENT
from devbox.records.deployed import DeployedRecord, StageDeployments
from devbox.records.host_key import HostKey
from devbox.records.keyring import KeyStore
from devbox.records.ledger import Ledger

ID = "0123456789ab"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "home"), str(tmp_path / "run"), str(tmp_path / "config/devbox"))


KILLED = """
import os, signal, sys
from devbox.host import files
os.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
files.write_atomic(sys.argv[1], "secret")
"""


@pytest.mark.parametrize("where", ["head", "key", "keys", "deployed"])
def test_the_next_writer_removes_what_a_killed_one_left(where: str, paths: Paths) -> None:
    path, write = {
        "head": (f"{paths.host_state}/heads/{ID}.json", lambda: Ledger(paths, ID).append(INTENT, body={})),
        "key": (f"{paths.config}/host.key.new-1-ab", lambda: HostKey(paths).prepare()),
        "keys": (f"{paths.keys}/ci.key", lambda: KeyStore(paths).add("ci", crypto.generate(crypto.ED25519), "")),
        "deployed": (paths.stage_deployments(ID), lambda: DeployedRecord(paths, ID).write(StageDeployments())),
    }[where]
    os.makedirs(paths.config, mode=0o700)
    if where != "key":
        HostKey(paths).prepare()
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    child = subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert child.returncode == -signal.SIGKILL
    assert any(".new-" in name for name in os.listdir(os.path.dirname(path)))
    alive = f"{path}.new-{os.getpid()}-7"
    files.write_atomic(alive, "being written")
    foreign = f"{path}.new-1000000000-8"  # a directory, which is left alone
    os.mkdir(foreign)
    for name in os.listdir(os.path.dirname(path)):
        if ".new-" in name:
            os.utime(f"{os.path.dirname(path)}/{name}", (0, time.time() - 2 * files.ABANDONED))
    write()
    os.rmdir(foreign)
    left = [name for name in os.listdir(os.path.dirname(path)) if ".new-" in name]
    assert left == [os.path.basename(alive)]
