"""Stages: targets of releases with their gates and traffic strategy."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

from devbox.model import codec, gate_kinds, ids
from devbox.model.container import Port, Secret
from devbox.model.frozen import dataclass
from devbox.model.release import Process, Release


class Gate:
    """Settings of a gate. Each kind, named by its `op`, is a frozen dataclass; see `gate_kinds`."""

    op: ClassVar[str]
    expires: float | None  # validity of evidence in seconds

    @classmethod
    def find_variant(cls, op: str) -> type[Gate]:
        """Return the class of a kind; KeyError if it is unknown. For `codec`."""
        variant: type[Gate] = gate_kinds.load(gate_kinds.GATES[op].settings)
        return variant


@dataclass(frozen=True, kw_only=True)
class TestsGate(Gate):
    """The tests of exactly this digest passed."""

    __test__: ClassVar[bool] = False  # not a test class for pytest
    op: ClassVar[str] = "tests"
    expires: float | None = None


@dataclass(frozen=True, kw_only=True)
class SignatureGate(Gate):
    """The image is signed by one of `keys`, names of builders or approvers; by any builder if empty."""

    op: ClassVar[str] = "signature"
    keys: tuple[str, ...] = ()
    expires: float | None = None


@dataclass(frozen=True, kw_only=True)
class ProvenanceGate(Gate):
    """One of `builders`, or any builder if empty, attests that they built the image, and its sources."""

    op: ClassVar[str] = "provenance"
    builders: tuple[str, ...] = ()
    expires: float | None = None


@dataclass(frozen=True, kw_only=True)
class SbomGate(Gate):
    """The image's SBOM contains none of these packages and licences, and no package listed as vulnerable in a file."""

    op: ClassVar[str] = "sbom"
    deny: tuple[str, ...] = ()
    deny_licenses: tuple[str, ...] = ()
    vulnerabilities: str | None = None  # a file below the project
    expires: float | None = None


@dataclass(frozen=True, kw_only=True)
class SoakGate(Gate):
    """The release ran in `stage` and was observed healthy there for `duration` seconds."""

    op: ClassVar[str] = "soak"
    stage: str
    duration: float
    expires: float | None = None


@dataclass(frozen=True, kw_only=True)
class ApprovalGate(Gate):
    """`count` of the listed approvers, or of all approvers if the list is empty, have approved."""

    op: ClassVar[str] = "approval"
    count: int = 1
    people: tuple[str, ...] = ()
    expires: float | None = None


@dataclass(frozen=True, kw_only=True)
class FreezeGate(Gate):
    """Closed in these windows ("Fri 16:00 - Mon 08:00") of an IANA time zone."""

    op: ClassVar[str] = "freeze"
    windows: tuple[str, ...]
    zone: str = "UTC"
    expires: float | None = None


@dataclass(frozen=True, kw_only=True)
class CommandGate(Gate):
    """A command on the host, in the project directory, exits with 0."""

    op: ClassVar[str] = "command"
    run: tuple[str, ...]
    expires: float | None = None


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of the router. `alpha`: its share of the false alarm probability; None: an equal share."""

    name: str  # "errors" | "latency"
    alpha: float | None = None
    quantile: float = 0.99


@dataclass(frozen=True, kw_only=True)
class ExternalMetric:
    """An external metric of a gray release: a command's output, or a Prometheus query, compared with limits.

    A command without limits fails by exit status 1. `authorization`: source of the header of that name ("env:…"), or
    "". `failures` consecutive bad samples cause a rollback. Times in seconds; `every`: between samples.
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
    """The first requests and seconds of each new process, whose response times are ignored."""

    requests: int = 20
    seconds: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """The traffic strategy. Times in seconds, `steps` in percent of traffic; see `[stage.NAME.strategy]`.

    `baseline`: the reference for the canary, "stable" or "fresh" (new replicas of stable, as many as the canary has).
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
    """`[stage.NAME]`. `order`: its position among the stages, from 0. `into`: the stage in whose environment it acts.

    `vars` override the file's variables: services and processes were resolved with them. `external` provides a need
    from outside: name → variables, each with the source of its value ("env:…", "file:…", "cmd:…").
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
    protected: bool = False  # destructive commands must name the stage
    verify: float | None = None  # seconds of observation once a release has the traffic; None: by its strategy
    drain: float = 300.0  # seconds that connections of a replaced release may continue

    @property
    def environment(self) -> str:
        """The stage in whose environment it acts: its own, or that of `into`."""
        return self.into or self.name


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A release as one stage runs it: image and config together; the unit of a rollback."""

    release: Release
    stage: Stage

    @property
    def processes(self) -> dict[str, Process]:
        """The processes with the stage's variables: its env and replicas override those of the release."""
        own, stage = self.release.config.get_stage_processes(self.stage.environment), self.stage
        return {name: _apply_stage(process, stage, name) for name, process in own.items()}

    @property
    def config_digest(self) -> str:
        """The identity of its config: a different one is another deployment, even of the same image."""
        plain = codec.dump({"processes": self.processes, "needs": self.release.config.needs})
        stage = {"external": self.stage.external, "publish": codec.dump(self.stage.publish), "vars": self.stage.vars}
        return ids.compute_key({**plain, **stage})


def compute_policy_digest(stage: Stage, approvers: dict[str, str], *, builders: dict[str, str] | None = None) -> str:
    """Return the identity of a stage's requirements. `approvers`, `builders`: name → identity of the key.

    Approvals and records are bound to it: changing the gates of a stage, or a key, invalidates old approvals.
    """
    gates = codec.dump([{**codec.dump(gate), "kind": gate.op} for gate in stage.gates])
    return ids.compute_key({"gates": gates, "approvers": approvers, "builders": builders or {}})


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

    A request is lost if the client got no complete response of the application, unless the client disconnected.
    `unknown`: upper bound of further losses because a router or a replica was killed.
    """

    router: str
    lost: dict[str, int]
    unknown: int = 0

    def subtract(self, earlier: Counts | None) -> Counts | None:
        """Return the losses since an earlier reading, None if that has another tally; all of them without one."""
        if earlier is None:
            return self
        if earlier.router != self.router:
            return None
        # A cause with a lower count than before was reset to 0.
        found = {
            cause: lost - (earlier.lost.get(cause, 0) if lost >= earlier.lost.get(cause, 0) else 0)
            for cause, lost in self.lost.items()
        }
        return Counts(router=self.router, lost=found, unknown=max(0, self.unknown - earlier.unknown))

    @property
    def total(self) -> int:
        """The sum of all known causes."""
        return sum(self.lost.values())


@dataclass(frozen=True, kw_only=True)
class StageObserved:
    """Observed state of a stage, as reported by the runtime: container → digest of its image index.

    `release` and `config` are those of the deployment with the traffic, "" for none; `address` is its endpoint.
    `counts` is None without a counting router.
    """

    release: str = ""
    config: str = ""
    address: str = ""
    healthy: bool = False
    digests: dict[str, str] = field(default_factory=dict)
    counts: Counts | None = None
