"""A stage: where a release goes, what it must pass to get in, how traffic moves to it."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

from devbox.model import codec, ids
from devbox.model.container import Port, Secret
from devbox.model.frozen import dataclass
from devbox.model.release import Process, Release


@dataclass(frozen=True, kw_only=True)
class TestsGate:
    """The tests of this very digest passed. `expires`, here and below: evidence counts for so many seconds."""

    __test__: ClassVar[bool] = False  # no class of tests, whatever pytest makes of its name
    op: ClassVar[str] = "tests"
    expires: float | None = None


@dataclass(frozen=True, kw_only=True)
class SignatureGate:
    """The image is signed by one of `keys`, names of builders or approvers; by any builder where empty."""

    op: ClassVar[str] = "signature"
    keys: tuple[str, ...] = ()
    expires: float | None = None


@dataclass(frozen=True, kw_only=True)
class ProvenanceGate:
    """One of `builders`, any builder where empty, says that he built the image, and from what."""

    op: ClassVar[str] = "provenance"
    builders: tuple[str, ...] = ()
    expires: float | None = None


@dataclass(frozen=True, kw_only=True)
class SbomGate:
    """The image's bill of materials has none of these packages and licences, nor what a file lists as vulnerable."""

    op: ClassVar[str] = "sbom"
    deny: tuple[str, ...] = ()
    deny_licenses: tuple[str, ...] = ()
    vulnerabilities: str | None = None  # a file below the project
    expires: float | None = None


@dataclass(frozen=True, kw_only=True)
class SoakGate:
    """The release ran in `stage`, and was seen healthy there, for `duration` seconds."""

    op: ClassVar[str] = "soak"
    stage: str
    duration: float
    expires: float | None = None


@dataclass(frozen=True, kw_only=True)
class ApprovalGate:
    """`count` of the approvers `people` said yes, all approvers where empty."""

    op: ClassVar[str] = "approval"
    count: int = 1
    people: tuple[str, ...] = ()
    expires: float | None = None


@dataclass(frozen=True, kw_only=True)
class FreezeGate:
    """Closed in these windows ("Fri 16:00 - Mon 08:00") of an IANA time zone."""

    op: ClassVar[str] = "freeze"
    windows: tuple[str, ...]
    zone: str = "UTC"
    expires: float | None = None


@dataclass(frozen=True, kw_only=True)
class CommandGate:
    """A command on this machine, in the project, ends with 0."""

    op: ClassVar[str] = "command"
    run: tuple[str, ...]
    expires: float | None = None


Gate = (
    TestsGate | SignatureGate | ProvenanceGate | SbomGate | SoakGate | ApprovalGate | FreezeGate | CommandGate
)  # each called by its `op`


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What the router counts. `alpha`: its share of the chance of a false alarm; None: an equal one."""

    name: str  # "errors" | "latency"
    alpha: float | None = None
    quantile: float = 0.99


@dataclass(frozen=True, kw_only=True)
class ExternalMetric:
    """A metric of a gray release from outside: what a command prints, or Prometheus answers, held against limits.

    A command without limits says no by ending with 1. `authorization`: where the header of that name is ("env:…"), or
    "". So many bad answers in a row as `failures` take the release back. Times in seconds; `every`: between answers.
    """

    name: str
    command: tuple[str, ...] = ()
    promql: str = ""
    url: str = ""
    authorization: str = ""
    most: float | None = None
    least: float | None = None
    every: float = 10.0
    timeout: float = 10.0
    failures: int = 1


@dataclass(frozen=True, kw_only=True)
class Warmup:
    """The first requests and seconds of each new process, whose response times are not judged."""

    requests: int = 20
    seconds: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """How traffic moves. Times in seconds, `steps` in percent of traffic; see `[stage.NAME.strategy]`.

    `baseline`: what a canary is compared with, "stable" or "fresh" (new replicas of stable, as many as the canary has).
    """

    kind: str = "recreate"  # "recreate" | "rolling" | "blue-green" | "gray"
    process: str | None = None
    steps: tuple[float, ...] = ()
    min_time: float = 0.0
    min_requests: int = 0
    timeout: float | None = None
    bake: float = 0.0
    margin: float | None = None
    alpha: float = 0.01
    metrics: tuple[Metric, ...] = ()
    outside: tuple[ExternalMetric, ...] = ()
    cohort: str = "cookie"  # "cookie", "cookie:NAME" or "header:NAME"
    rehearse: bool = False
    irreversible: bool = False
    warmup: Warmup = field(default_factory=Warmup)
    baseline: str = "stable"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """`[stage.NAME]`. `order`: its place among the stages, from 0. `into`: the stage in whose environment it acts.

    `vars` are those of the file that are others here: services and processes were resolved with them. `external` meets
    a need from outside: name → variables, each where its value is ("env:…", "file:…", "cmd:…").
    """

    name: str
    order: int
    target: str = "local"
    into: str = ""
    repository: str = ""
    publish: tuple[Port, ...] = ()
    vars: dict[str, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, Secret] = field(default_factory=dict)
    replicas: dict[str, int] = field(default_factory=dict)
    external: dict[str, dict[str, str]] = field(default_factory=dict)
    gates: tuple[Gate, ...] = ()
    strategy: Strategy = field(default_factory=Strategy)
    where: str = ""  # file:line of its table
    protected: bool = False  # a command that destroys it has to name it
    verify: float | None = None  # seconds that a release is observed when it has the traffic; None: by its strategy
    drain: float = 300.0  # seconds that connections of a release may go on when another one has the traffic

    @property
    def environment(self) -> str:
        """The stage whose environment it acts in: its own, or that of `into`."""
        return self.into or self.name


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A release as one stage runs it: image and config together. What a rollback goes back to is one of these."""

    release: Release
    stage: Stage

    @property
    def processes(self) -> dict[str, Process]:
        """What runs, with the stage's variables: env and replicas of the stage come before those of the release."""
        own, stage = self.release.config.get_stage_processes(self.stage.environment), self.stage
        return {name: _apply_stage(process, stage, name) for name, process in own.items()}

    @property
    def config_digest(self) -> str:
        """The identity of its config: another one is another deployment, also of the same image."""
        plain = codec.dump({"processes": self.processes, "needs": self.release.config.needs})
        stage = {"external": self.stage.external, "publish": codec.dump(self.stage.publish), "vars": self.stage.vars}
        return ids.compute_key({**plain, **stage})


def compute_policy_digest(stage: Stage, approvers: dict[str, str], *, builders: dict[str, str] | None = None) -> str:
    """The identity of what a stage asks of a release. `approvers`, `builders`: name → what its key is known by.

    Approvals and records are bound to it: who changes the gates of a stage, or a key, makes old approvals void.
    """
    gates = codec.dump([_dump_tagged(gate) for gate in stage.gates])
    return ids.compute_key({"gates": gates, "approvers": approvers, "builders": builders or {}})


def _dump_tagged(gate: Gate) -> dict[str, object]:
    return {**codec.dump(gate), "kind": gate.op}


def _apply_stage(process: Process, stage: Stage, name: str) -> Process:
    from dataclasses import replace

    return replace(
        process,
        env={**process.env, **stage.env},
        secrets={**process.secrets, **stage.secrets},
        replicas=stage.replicas.get(name, process.replicas),
    )


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Lost requests of a stage since its first router started. `router`: the id of the tally; `lost`: cause → requests.

    A request is lost if the client got no complete answer of the application, except where the client itself left.
    `unknown`: requests that may have been lost besides, at most, because a router or a replica was killed.
    """

    router: str
    lost: dict[str, int]
    unknown: int = 0

    def subtract(self, earlier: Counts | None) -> Counts | None:
        """What was lost since an earlier reading, None if another tally counted then. Without one, all of it."""
        if earlier is None:
            return self
        if earlier.router != self.router:
            return None
        # A cause that has fewer than before was counted again from 0.
        found = {
            cause: lost - (earlier.lost.get(cause, 0) if lost >= earlier.lost.get(cause, 0) else 0)
            for cause, lost in self.lost.items()
        }
        return Counts(router=self.router, lost=found, unknown=max(0, self.unknown - earlier.unknown))

    @property
    def total(self) -> int:
        """All causes together, without those that are not known."""
        return sum(self.lost.values())

    def count_since(self, earlier: Counts | None) -> int | None:
        """The total of the difference."""
        found = self.subtract(earlier)
        return found.total if found else None


@dataclass(frozen=True, kw_only=True)
class StageObserved:
    """What runs in a stage, as the runtime reports it: container → digest of the image index it was started from.

    `release` and `config` are those of the deployment that gets traffic, "" for none; `address` leads to it. `counts`
    is None where no router counts.
    """

    release: str = ""
    config: str = ""
    address: str = ""
    healthy: bool = False
    digests: dict[str, str] = field(default_factory=dict)
    counts: Counts | None = None
