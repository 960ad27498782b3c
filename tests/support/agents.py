"""Real SSH agents with a key, run as the user of a box."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support.machine import Box, lacking, wait_until


class Agent:
    """A running ssh-agent: where it listens, and the public key it holds as a line of `ssh-add -L`."""

    def __init__(self, socket: Path, public: str) -> None:
        self.socket = socket
        self.public = public

    @property
    def caller(self) -> dict[str, str]:
        """The environment of a user with this agent."""
        return {"SSH_AUTH_SOCK": str(self.socket)}


@contextlib.contextmanager
def ssh_agent(box: Box) -> Iterator[Agent]:
    """An agent with a new key; stopped at the end."""
    if shutil.which("ssh-agent") is None:
        lacking("openssh-client is not installed")
    place = Path(tempfile.mkdtemp(prefix="agent-", dir=box.home.parent))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", place.name, "-f", place / "key"], check=True)
    start = [] if box.user is None else ["setpriv", "--reuid", box.user, "--regid", box.user, "--init-groups"]
    if box.user is not None:
        subprocess.run(["chown", "-R", f"{box.user}:{box.user}", place], check=True)
    socket = place / "sock"
    agent = subprocess.Popen([*start, "ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        wait_until(socket.exists, what="the agent's socket")
        known = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
        subprocess.run([*start, "ssh-add", "-q", place / "key"], env=known, check=True)
        yield Agent(socket, (place / "key.pub").read_text().strip())
    finally:
        agent.send_signal(signal.SIGTERM)
        agent.wait(10)
        shutil.rmtree(place)
