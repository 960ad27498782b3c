"""A project with stages, releases, and fake stage targets that only record their calls.

The environments keep to `devbox.promotion.target`: state on the disk, verbs that can be called again, and whatever
is killed within them leaves something half done.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable
from pathlib import Path

from support import layouts
from support.resolving import write_project

from devbox.commands import preview
from devbox.commands import promote as verbs
from devbox.commands.test_evidence import ReleaseTests
from devbox.errors import EngineError
from devbox.execute.events import Sink
from devbox.images.store.layout import Layout
from devbox.model import codec
from devbox.model.ledger import TESTED, LedgerEntry, TestEvidence
from devbox.model.plan import Verdict
from devbox.model.release import Release, compute_release_id
from devbox.model.spec import Spec
from devbox.model.stage import Counts, Deployment, Stage, StageObserved
from devbox.project import Project, open_project, prepare
from devbox.promotion.gates.context import format_timestamp
from devbox.promotion.history import History
from devbox.records.ledger import Ledger
from devbox.records.releases import Releases

APP = """
stages = ["test", "staging", "production"]
[base.app]
recipe = "debian"
[image]
from = "app"
[image.process.web]
command = ["serve"]
ports = [8000]
"""


class RememberingEnvironment:
    """A stage that runs nothing. `point` is called at each place where a kill would leave something half done."""

    def __init__(self, path: Path, point: Callable[[str], None]) -> None:
        self._path = path
        self._point = point

    def observe(self) -> StageObserved:
        seen = self._read()
        return StageObserved(
            release=seen.get("release", ""),
            config=seen.get("config", ""),
            address="127.0.0.1:9" if seen.get("release") else "",
            healthy=bool(seen.get("healthy")),
            digests=seen.get("digests", {}),
            counts=Counts(**seen["counts"]) if "counts" in seen else None,
        )

    def deploy(self, desired: Deployment, sink: Sink, *, verify: bool = False) -> None:
        log = self._read().get("log", [])
        self._write({**self._read(), "healthy": False, "log": [*log, desired.release.id]})
        self._point("deploying")
        if (self._path.parent / "broken").exists() and desired.release.id in (self._path.parent / "broken").read_text():
            raise EngineError("web did not become ready", remedy="devbox logs")
        digest = desired.release.image
        if (self._path.parent / "swapped").exists():
            digest = "sha256:" + "e" * 64
        facts = {"release": desired.release.id, "config": desired.config_digest, "digests": {"web-1": digest}}
        self._write({"counts": {"router": "first", "lost": {}}, **self._read(), **facts, "healthy": True})
        self._point("deployed")

    def retire(self) -> None:
        self._write({"log": self._read().get("log", [])})

    def lose(self, requests: int, router: str) -> None:
        """Add this many unanswered requests to the counts of the router of this name."""
        before = self._read().get("counts", {})
        lost = before["lost"].get("web", 0) if before.get("router") == router else 0
        self._write({**self._read(), "counts": {"router": router, "lost": {"web": lost + requests}}})

    def log(self) -> list[str]:
        """The releases that it was told to run, in order."""
        return list(self._read().get("log", []))

    def _read(self) -> dict:
        return json.loads(self._path.read_text()) if self._path.exists() else {}

    def _write(self, facts: dict) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(facts))
        new.rename(self._path)


class Shop:
    """The project, at a place of its own."""

    def __init__(self, place: Path, text: str = APP, *, project: str = "shop") -> None:
        self.place = place
        self.root = write_project(str(place / project), text)
        self._state = place / f"environments-{project}"
        self._state.mkdir(exist_ok=True)
        self.point: Callable[[str], None] = lambda _: None

    @property
    def opened(self) -> Project:
        return open_project(self.root)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.opened.paths, self.opened.id)

    def release(self, number: int, *, size: int = 1000, packed: bool = True) -> Release:
        """A release of an image of its own, which lies in the store."""
        opened = self.opened
        oci = Layout(opened.paths.oci, lock=opened.paths.lock("oci-index"))
        oci.create()
        image = layouts.image(oci, seed=number, size=size, packed=packed)
        oci.set_ref(f"image{number}", image)
        config = prepare(opened).release
        assert config is not None
        identity = compute_release_id(image=image.digest, config=config, source=f"git:{number}")
        made = Release(
            id=identity,
            image=image.digest,
            config=config,
            source=f"git:{number}",
            created_at=f"2026-01-{number:02}T00:00:00Z",
        )
        Releases(opened.paths, opened.id).add(made)
        return made

    def environment(self, stage: str) -> RememberingEnvironment:
        return RememberingEnvironment(self._state / f"{stage}.json", self.point)

    def promote(self, stage: str, release: Release | None = None) -> verbs.PromotionResult:
        name = release.id if release else ""
        return verbs.promote(self.opened, _unseen, stage=stage, release=name, environments=self._environments)

    def rollback(self, stage: str) -> verbs.PromotionResult:
        return verbs.rollback(self.opened, _unseen, stage=stage, environments=self._environments)

    def why(self, stage: str, release: Release | None = None) -> dict[str, Verdict]:
        """The verdicts by subject."""
        found = preview.explain_stage(self.opened, stage=stage, release=release.id if release else "")
        return {verdict.subject: verdict for verdict in found}

    def runs(self, stage: str) -> str:
        """The release that the stage's environment runs, healthily."""
        seen = self.environment(stage).observe()
        return seen.release if seen.healthy else ""

    def entries(self, stage: str = "") -> list[LedgerEntry]:
        return [entry for entry in self.ledger.read_entries() if stage in ("", entry.stage)]

    def history(self) -> History:
        return History(self.ledger.read_entries())

    def lose(self, stage: str, requests: int, *, router: str = "first") -> None:
        """The stage's router has no server for some requests."""
        self.environment(stage).lose(requests, router)

    def tested(self, release: Release, cells: dict[str, str], *, ago: float = 0.0) -> None:
        """Record tests against the image of a release, this many seconds ago."""
        at = format_timestamp(dt.datetime.now(dt.UTC) - dt.timedelta(seconds=ago))
        passed = set(cells.values()) == {"passed"}
        tests = ReleaseTests(self.opened)
        but = tests.list_excluded()
        found = TestEvidence(
            digest=release.image, passed=passed, at=at, cells=cells, tests=tests.compute_identity(but), but=but
        )
        self.ledger.append(TESTED, release=release.id, body={"run": codec.dump(found), "evidence": ""})

    def break_release(self, release: Release) -> None:
        """It never becomes ready, wherever it runs."""
        with (self._state / "broken").open("a") as out:
            out.write(release.id + "\n")

    def swap_images(self) -> None:
        """From now on, run another release than the requested one."""
        (self._state / "swapped").touch()

    def rewrite(self, text: str) -> None:
        """Another file from now on."""
        Path(self.root, "devbox.toml").write_text(text)

    def _environments(self, project: Project, resolved: Spec, stage: Stage) -> RememberingEnvironment:
        return self.environment(stage.environment)


def in_a_child(work: Callable[[], object]) -> int:
    """Run something in a process of its own; 0 where it came to its end, else the signal that ended it, negative."""
    return ended(begin(work))


def ended(child: int) -> int:
    """Exit status of a child."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def begin(work: Callable[[], object]) -> int:
    """Begin something in a process of its own; its pid."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - whatever it is ends this process, not the test
            os._exit(1)
        finally:
            os._exit(2)
    return child


def _unseen(event: object) -> None:
    """Discard progress events."""
