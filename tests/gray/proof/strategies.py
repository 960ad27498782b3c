"""Deployments with each strategy under load: clients and the stage count the same losses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gray.proof.losses import BROKEN, NO_SERVER, compare, seen
from gray.proof.shop import kill
from support import long, staged
from support.load import Load
from support.long import Long
from support.machine import Box, wait_until

from devbox.deploy.router import Router
from devbox.host.paths import Paths
from devbox.model.ids import compute_instance_id, compute_stage_id
from devbox.model.stage import Counts

APP = staged.APP.replace("    my $answer =", long.SERVER + "    my $answer =")
FILE = staged.FILE.replace(
    'secrets = { TOKEN = "env:STAGING_TOKEN" }',
    'strategy = { kind = "STRATEGY" }\nverify = "2s"\ndrain = "DRAIN"',
).partition("[image.process.worker]")
CONNECTIONS, FRESH = 8, 4


@dataclass(frozen=True)
class Stage:
    """The project, with its version 1 in the stage."""

    box: Box
    path: Path
    address: str

    @classmethod
    def opened(cls, box: Box, strategy: str, *, drain: str) -> Stage:
        head, _, tail = FILE
        text = f"{head}[stage.staging]{tail.partition('[stage.staging]')[2]}"
        text = text.replace("STRATEGY", strategy).replace("DRAIN", drain)
        path = box.project(text, "greeter", {"greeter/app.pl": APP, "greeter/version": "1\n"})
        staged.built(box, path, "1")
        box.ok("promote", "staging", cwd=path)
        (router,) = box.json("ps", "--stage", "staging", "router", cwd=path)
        return cls(box, path, f"http://{router['ports'][0]['address']}:{router['ports'][0]['host']}")

    def promoted(self, version: str, *, victim: str = "") -> dict[str, Any]:
        """The document of a promotion; {} of one that failed, which only the end of a replica may cause.

        The container whose name begins with `victim` is killed when a replica of the new release is there.
        """
        staged.built(self.box, self.path, version)
        before = self.rows()
        running = subprocess.Popen(
            self.box.argv("promote", "staging", "--json"),
            cwd=self.path,
            env=self.box.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            if victim:
                wait_until(partial(self._has_more, than=before.keys(), or_ended=running), seconds=60, what="a replica")
                kill(next(row["pid"] for name, row in before.items() if name.startswith(victim)))
            text, why = running.communicate(timeout=900)
        except BaseException:
            running.kill()
            running.communicate()
            raise
        assert running.returncode == 0 or victim not in ("", "router"), why.decode()
        made: dict[str, Any] = json.loads(text) if running.returncode == 0 else {}
        return made

    def counts(self) -> Counts:
        paths = Paths(str(self.box.home), str(self.box.home), f"{self.box.home}-config")
        found = Router(
            paths, compute_stage_id(compute_instance_id(str(self.path), "devbox.toml"), "staging")
        ).read_counts()
        assert found is not None
        return found

    def rows(self) -> dict[str, dict[str, Any]]:
        """The containers by name."""
        found: list[dict[str, Any]] = self.box.json("ps", "--stage", "staging", cwd=self.path)
        return {row["name"]: row for row in found}

    def _has_more(self, *, than: Collection[str], or_ended: subprocess.Popen[bytes]) -> bool:
        return bool(self.rows().keys() - than) or or_ended.poll() is not None


VICTIMS = {"rolling": ("web", "router"), "blue-green": ("web", "router"), "recreate": ("router",)}


def proof(box: Box, strategy: str, *, requests: int, seconds: int, victims: Sequence[str], rate: float = 0.0) -> None:
    """Promote under load, with connections of `seconds`: undisturbed, and while each victim is killed.

    `rate`: requests a second; 0: as many as can be. AssertionError where clients and the stage do not count the same,
    or a client lost anything without a kill.
    """
    stage = Stage.opened(box, strategy, drain=f"{2 * seconds + 30}s")
    for number, victim in enumerate(("", *victims), start=2):
        before = stage.counts()
        with (
            Load(stage.address, connections=CONNECTIONS, fresh=FRESH, rate=rate) as load,
            Long(stage.address, seconds=seconds) as lasting,
        ):
            wait_until(partial(_began, lasting), what="the connections")
            said = stage.promoted(str(number), victim=victim)
            load.wait(requests, seconds=600)
            load.stop()
            lasting.stop()
        clients, counted = seen(load, lasting), stage.counts().subtract(before)
        more = compare(clients, counted)
        assert counted is not None
        known = {cause: count for cause, count in counted.lost.items() if count}
        print(
            f"{strategy:<11} {victim + ' killed' if victim else 'undisturbed':<15} {load.requests:>7} requests,"
            f" {sum(lasting.ended.values()):>3} long; clients lost {dict(clients)}, counted {known}"
            f" and {more} of at most {counted.unknown} more;{'' if said else ' not'} promoted",
            flush=True,
        )
        if not victim:
            # `recreate` stops the old release first, and gives its connections 10 seconds.
            assert set(clients) <= ({NO_SERVER, BROKEN} if strategy == "recreate" else set()), load.failed[:5]
            assert (said["lost_by_cause"], said["lost_unknown"]) == (known, 0)


def _began(lasting: Long) -> bool:
    return lasting.began == 6
