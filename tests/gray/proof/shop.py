"""A service with a production stage and a gray stage, in a real box: its releases, ledger and processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import long, staged
from support.machine import Box

from devbox.deploy.records import GrayStore
from devbox.deploy.router import Router
from devbox.host.paths import Paths
from devbox.model.ids import compute_instance_id, compute_stage_id
from devbox.model.ledger import LedgerEntry
from devbox.model.stage import Counts
from devbox.records.ledger import Ledger

FILE = staged.gray_file(
    """\
steps = [1, 5, 25, 50]
min_time = "2s"
min_requests = 20
margin = 0.3
bake = "3s"
rehearse = true
""",
    replicas=2,
)
# A version is what it is called: "bad" fails every tenth request, "ill" its health check once it has served a while,
# "crash" ends by itself, again and again.
APP = staged.APP.replace(
    "my $answer =",
    long.SERVER
    + """$served++;
    exit 3 if $version eq 'crash' && $served > 40;
    my $oops = $path =~ /healthz/ ? $version eq 'ill' && $served > 40 : $version eq 'bad' && rand() < 0.1;
    my $answer =""",
).replace('"HTTP/1.1 200 OK', '"HTTP/1.1 " . ($oops ? "500 Oops" : "200 OK") . "')
_EXECUTED = re.compile(r"executed /(\S+)")


@dataclass(frozen=True)
class Shop:
    """The project in its box."""

    box: Box
    path: Path

    @classmethod
    def opened(cls, box: Box, text: str = FILE) -> Shop:
        """The project, with its version 1 in production."""
        shop = cls(box, box.project(text, "greeter", {"greeter/app.pl": APP, "greeter/version": "1\n"}))
        shop.built("1")
        shop.ok("promote", "gray")
        shop.ok("promote", "production")
        return shop

    @property
    def production(self) -> str:
        return compute_stage_id(compute_instance_id(str(self.path), "devbox.toml"), "production")

    @property
    def paths(self) -> Paths:
        return Paths(str(self.box.home), str(self.box.home), f"{self.box.home}-config")

    def counts(self) -> Counts:
        """Lost requests of the stage until now."""
        found = Router(self.paths, self.production).read_counts()
        assert found is not None
        return found

    @property
    def trials(self) -> GrayStore:
        return GrayStore(self.paths, self.production)

    @property
    def address(self) -> str:
        (router,) = (row for row in self.rows() if row["name"] == "router")
        return f"http://{router['ports'][0]['address']}:{router['ports'][0]['host']}"

    def built(self, version: str) -> str:
        """A release of another version: its id."""
        return str(staged.built(self.box, self.path, version)["release"])

    def ok(self, *words: str) -> str:
        return self.box.ok(*words, cwd=self.path)

    def run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        return self.box.run(*words, cwd=self.path)

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command in its own process, without its output."""
        return subprocess.Popen(
            self.box.argv(*words),
            cwd=self.path,
            env=self.box.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.box.json("ps", "--stage", "production", cwd=self.path)
        return found

    def replicas(self, release: str) -> list[dict[str, Any]]:
        """The containers of a release."""
        digest = next(
            row["digest"] for row in json.loads(self.ok("release", "ls", "--json")) if row["release"] == release
        )
        return [row for row in self.rows() if row["digest"] == digest]

    def releases(self) -> set[str]:
        """The images that run."""
        return {row["digest"] for row in self.rows() if row["name"].startswith("web")}

    def entries(self) -> tuple[LedgerEntry, ...]:
        """The ledger."""
        return Ledger(self.paths, compute_instance_id(str(self.path), "devbox.toml")).read_entries()

    def phases(self, since: int = 0) -> list[str]:
        """The outcomes of gray releases in the ledger, after an entry."""
        return [entry.body["phase"] for entry in self.entries() if entry.kind == "gray" and entry.seq > since]

    def executed(self) -> Counter[str]:
        """Executions of each POST, from the logs of all containers so far."""
        found: Counter[str] = Counter()
        for log in Path(self.paths.log(self.production, "web")).parent.glob("web-*.log*"):
            found.update(_EXECUTED.findall(log.read_text(errors="replace")))
        return found


def kill(pid: int) -> None:
    """At once, without a word."""
    os.kill(pid, signal.SIGKILL)
