"""Gray release in a stage's environment: warm up, shift traffic step by step, then keep or roll back.

Implements `promotion.target.StageTarget` for the stage and its home. All operations can be repeated after a kill.
"""

from __future__ import annotations

import time
from dataclasses import replace

from devbox.deploy import stage_containers
from devbox.deploy.controller import Controller, RouterStats, allow_completion
from devbox.deploy.metrics import MetricContext, MetricPoller, MetricScope
from devbox.deploy.records import GrayStore, OperatorRequest
from devbox.deploy.strategies import BLUE_GREEN, RECREATE
from devbox.deploy.targets.local import LocalTarget
from devbox.deploy.traffic import RouterBackend
from devbox.errors import DevboxError, RolledBack, UsageError
from devbox.execute.events import Looked, Note, Sink
from devbox.gray import policy, summary
from devbox.gray.decide import apply_request
from devbox.gray.release import GrayRelease
from devbox.gray.state import ABORTED, HOLD, STABLE, WARM, GrayState
from devbox.model.ledger import APPLIED
from devbox.model.ledger_payloads import GrayPayload, read_shared
from devbox.model.router import BASELINE, get_full_share, get_other_side
from devbox.model.spec import Desired
from devbox.model.stage import Deployment, Stage, StageObserved
from devbox.model.traffic import Batch, Side
from devbox.project import Project
from devbox.promotion import plan
from devbox.promotion.history import History
from devbox.promotion.target import StageTarget
from devbox.records.deployed import StageDeployments
from devbox.records.ledger import Ledger

GRAY = "gray"  # kind of the strategy and of its ledger entries
ENDS = (HOLD, STABLE, ABORTED)


class GrayTarget:
    """`stage` is promoted to; `home` owns the environment, and may be the same stage.

    `through`: the stage that shifts traffic in the environment.
    """

    def __init__(
        self, inner: LocalTarget, *, stage: Stage, home: Stage, through: str, ledger: Ledger, around: MetricScope
    ) -> None:
        self._inner = inner
        self._around = around
        self._stage = stage
        self._home = home
        self._through = through
        self._ledger = ledger
        self._router = inner.router
        self._record = inner.record
        self.gray_store = GrayStore(inner.paths, inner.id)
        self._went_back = False
        self._accepted: Deployment | None = None  # accepted without shifting traffic

    @property
    def home(self) -> str:
        """Stage that owns the environment."""
        return self._home.name

    @property
    def stages(self) -> tuple[str, str]:
        """Names accepted from the user."""
        return self._stage.name, self._home.name

    @property
    def metrics(self) -> str:
        """Address for Prometheus; "" if nothing runs."""
        return self._inner.metrics

    @property
    def active_release(self) -> GrayRelease | None:
        """The gray release in progress, if any."""
        gray_release = self.gray_store.read()
        return gray_release if gray_release is not None and not gray_release.is_over else None

    # The `StageTarget` interface.

    def observe(self) -> StageObserved:
        """See `StageTarget`. A gray stage has the release that passed all steps; without one, its home's release."""
        seen, known = self._inner.observe(), self._record.read()
        gray_release = self.active_release
        if self._accepted is not None:
            own = self._set_own_stage(self._accepted)
            return StageObserved(release=own.release.id, config=own.config_digest, healthy=True)
        if self._stage is self._home or gray_release is None:
            return self._convert_observed(seen, known)
        if gray_release.rollout.phase != HOLD:
            return replace(seen, release="", config="", healthy=False, digests={})
        return replace(
            seen,
            release=gray_release.release,
            config=self._set_own_stage(gray_release.deployment).config_digest,
            healthy=self._inner.has_router() and self._is_healthy(gray_release),
            digests=_select_digests(gray_release.deployment, seen.digests),
        )

    def _is_healthy(self, gray_release: GrayRelease) -> bool:
        """True if the canary responds; waits for a restarting router."""
        return self._router.runtime.repeat(lambda: self._build_backend(gray_release).read_stats().canary_healthy)

    def deploy(self, deployment: Deployment, sink: Sink, *, verify: bool = False) -> None:
        """See `StageTarget`. Return when all steps are passed or the release is complete; RolledBack if it failed."""
        if self._went_back:  # the previous release runs
            return
        self._settle(sink, about=deployment.release.id)
        goal = deployment if self._stage is self._home else replace(deployment, stage=self._home)
        known, gray_release = self._read_record(sink), self.active_release
        if gray_release is not None and gray_release.release != deployment.release.id:
            if not self._has_run(goal, known):
                raise UsageError(
                    f"a gray release of {gray_release.release} is in progress in {self._home.name}",
                    remedy=f"resume it: devbox promote {gray_release.stage}; roll it back: devbox release abort",
                )
            self.abort(sink, by="a rollback")
            gray_release = None
        again = verify and self._was_rolled_back(goal)
        if self._deploy_without_gray(goal, known, gray_release, sink, again=again):
            return
        self._run_release(gray_release or self._begin_release(goal), sink)

    def retire(self) -> None:
        """See `StageTarget`. A gray stage removes only the canary."""
        if self._stage is self._home:
            self._inner.retire()
        elif self.active_release is not None:
            self.abort(lambda _event: None, by="devbox")

    def abort(self, sink: Sink, *, by: str, began: float = 0.0) -> GrayRelease:
        """Roll back a release of any controller; return the result. `began`: of the intended release; 0: any."""
        gray_release = self.active_release
        if gray_release is None or began not in (0.0, gray_release.began):
            raise UsageError(f"no gray release is in progress in {self._home.name}", remedy="devbox release log")
        over = self._run_controller(gray_release, sink, wish=OperatorRequest(what="abort", by=by))
        self._settle(sink, about="")
        return over

    def steer(self, wish: OperatorRequest) -> GrayRelease | None:
        """Hold or resume a release without a controller; None if a controller runs.

        None also if another release is meant.
        """
        with self.gray_store.lock_controller() as acquired:
            gray_release = self.active_release
            if not acquired or gray_release is None or wish.began not in (0.0, gray_release.began):
                return None
            seen = replace(gray_release, rollout=apply_request(gray_release.rollout, wish.what))
            self.gray_store.write(seen)
            self._append_entry(seen)
            return seen

    # One gray release.

    def _deploy_without_gray(
        self, goal: Deployment, known: StageDeployments, gray_release: GrayRelease | None, sink: Sink, *, again: bool
    ) -> bool:
        """Return True if no gray release is needed: no stable release, or the goal ran here; the home deploys it.

        `again`: promotion after a rollback.
        """
        own = self._stage is self._home
        if gray_release is not None:
            return False
        if known.running is None or known.runs(goal) or (own and not again and self._has_run(goal, known)):
            if own:
                self._inner.deploy(goal, sink)
            elif known.running is None:
                self._accepted = goal
                name = self._home.name
                sink(Note(text=f"{name} has no deployment: skipping traffic shifting; next: devbox promote {name}"))
            return True
        if own and self._stage.strategy.kind != GRAY:
            raise UsageError(
                f"release {goal.release.id} not found in {self._through}, which leads to {self._home.name}",
                remedy=f"devbox promote {self._through}",
            )
        return False

    def _read_record(self, sink: Sink) -> StageDeployments:
        """Return the deployments of the environment; restore a lost record's running release from the ledger."""
        known, history = self._record.read(), History(self._ledger.read_entries())
        entry = history.find_running(self._home.name) if known.running is None else None
        if entry is not None and (lost := plan.load_deployment(entry, history)) is not None:
            self._record.write(replace(known, running=lost))  # its jobs have completed
            self._inner.deploy(lost, sink)
        return self._record.read()

    def _has_run(self, goal: Deployment, known: StageDeployments) -> bool:
        """True if the environment runs or ran the goal, by its record or the ledger."""
        history = History(self._ledger.read_entries())
        applied = history.list_entries(APPLIED, release=goal.release.id, stage=self._home.name)
        return known.has_run(goal) or any(read_shared(entry).config == goal.config_digest for entry in applied)

    def _was_rolled_back(self, goal: Deployment) -> bool:
        """True if the environment rolled back from the release, on any host, and did not get it again since."""
        return History(self._ledger.read_entries()).find_rollback(self._home.name, goal.release.id) is not None

    def _begin_release(self, goal: Deployment) -> GrayRelease:
        """Record a new gray release before any action. Pending requests about another one are dropped."""
        self.gray_store.consume_request()
        own = self._stage is self._home
        rules = policy.build_policy(self._stage.strategy, completes=own)
        side = self._router.state.idle_side
        gray_release = GrayRelease(
            stage=self._stage.name,
            deployment=goal,
            policy=rules,
            rollout=GrayState.begin(rules),
            side=side,
            began=time.time(),
            counts_before=self._router.read_counts(),
        )
        self.gray_store.write(gray_release)
        return gray_release

    def _run_release(self, gray_release: GrayRelease, sink: Sink) -> None:
        """Continue from the recorded phase to the end of this promotion."""
        wish = None
        if gray_release.rollout.phase == WARM:
            self._warm(gray_release, sink)
        if self._stage is self._home:
            _check_not_held(gray_release, self._home.name)
            gray_release = allow_completion(gray_release)
            wish = OperatorRequest(what="complete", by="the promotion") if gray_release.rollout.phase == HOLD else None
        elif gray_release.rollout.phase == HOLD and self._inner.has_router():
            return
        self._run_controller(gray_release, sink, wish=wish)
        self._settle(sink, about=gray_release.release)

    def _warm(self, gray_release: GrayRelease, sink: Sink) -> None:
        """Start the release next to the running one, and register it with the router as the canary."""
        share = get_full_share(get_other_side(gray_release.side))
        running = self._record.read().running
        if running is not None and not self._inner.has_router():
            self._inner.deploy(running, sink)
        self._router.change(lambda state: replace(state, canary=gray_release.side, share=share))
        has_baseline = gray_release.policy.has_baseline
        for side in (gray_release.side, *((BASELINE,) if has_baseline else ())):
            self._router.reset_counts(side)
        try:
            self._inner.warm(gray_release.deployment, sink, stable=running if has_baseline else None)
        except DevboxError as error:
            self.gray_store.write(replace(gray_release, rollout=gray_release.rollout.enter(ABORTED, error.sentence)))
            self._settle(sink, about="")
            raise

    def _run_controller(self, gray_release: GrayRelease, sink: Sink, *, wish: OperatorRequest | None) -> GrayRelease:
        with self.gray_store.lock_controller() as acquired:
            if not acquired:
                raise UsageError(
                    f"another devbox controls this gray release (pid {self.gray_store.find_controller() or 'unknown'})",
                    remedy="control it with: devbox release hold, resume or abort",
                )
            self._append_missed_entry(gray_release)
            if not self._inner.has_router():
                return self._abort_stopped(gray_release)
            metrics = () if wish and wish.what == "abort" else gray_release.policy.outside
            poller = MetricPoller(metrics, self._build_metric_context(gray_release))
            with poller as measures, self._router.poll_counts():
                return self._build_controller(sink, gray_release, wish, measures).run(gray_release)

    def _abort_stopped(self, gray_release: GrayRelease) -> GrayRelease:
        """End a release whose environment was stopped, for example by a reboot: no client uses the canary."""
        gone = gray_release.rollout.enter(ABORTED, "the environment was stopped meanwhile")
        over = gray_release.add_observation(gone, Batch(canary=Side(), stable=Side()), now=time.time(), threshold=0)
        self.gray_store.write(over)
        self._append_entry(over)
        return over

    def _build_controller(
        self, sink: Sink, gray_release: GrayRelease, wish: OperatorRequest | None, measures: MetricPoller
    ) -> Controller:
        count = len(gray_release.changes)

        def on_look(seen: GrayRelease, _stats: RouterStats) -> None:
            nonlocal count
            changed, count = len(seen.changes) > count, len(seen.changes)
            self._router.publish_metrics(summary.render_metrics(seen), keep=changed)
            sink(Looked(glance=summary.summarize(seen), changed=changed))

        return Controller(
            gray_store=self.gray_store,
            backend=self._build_backend(gray_release),
            until=(STABLE, ABORTED) if gray_release.policy.completes else ENDS,
            readings=measures.consume_readings,
            on_look=on_look,
            on_change=self._append_entry,
            on_unreachable=lambda: sink(Note(text="the router does not respond: no decisions until it does")),
            wish=wish,
        )

    def _build_backend(self, gray_release: GrayRelease) -> RouterBackend:
        process = self._stage.strategy.process
        return RouterBackend(
            runtime=self._router.runtime,
            canary=gray_release.side,
            processes=(process,) if process else (),
            keep=self._router.store_share,
            restarts=lambda: self._inner.count_restarts(gray_release.deployment),
            counts=self._router.read_counts,
            baseline=gray_release.policy.has_baseline,
        )

    def _build_metric_context(self, gray_release: GrayRelease) -> MetricContext:
        running = self._record.read().running
        return self._around.build_context(
            gray_release, stage=self._stage, home=self._home, address=self._inner.address, stable=running
        )

    def _append_entry(self, gray_release: GrayRelease) -> None:
        """Add the phase or step to the ledger, with its counts."""
        body = gray_release.build_payload().to_body()
        self._ledger.append(GRAY, release=gray_release.release, stage=gray_release.stage, body=body)

    def _append_missed_entry(self, gray_release: GrayRelease) -> None:
        """Add the entry of a controller that was killed before it could."""
        own = (GRAY, gray_release.stage, gray_release.release)
        entries = reversed(self._ledger.read_entries())
        last = next((GrayPayload.read(each) for each in entries if (each.kind, each.stage, each.release) == own), None)
        place = (gray_release.rollout.phase, gray_release.rollout.step, gray_release.rollout.held)
        if gray_release.changes and (last is None or (last.phase, last.step, last.held) != place):
            self._append_entry(gray_release)

    def _settle(self, sink: Sink, *, about: str) -> None:
        """Finish a completed release: all traffic on one side, the other side removed.

        RolledBack if the release `about` failed.
        """
        gray_release = self.gray_store.read()
        if gray_release is None or not gray_release.is_over or gray_release.settled:
            return
        self._append_missed_entry(gray_release)
        good = gray_release.rollout.phase == STABLE
        side = gray_release.side if good else get_other_side(gray_release.side)
        known = self._record.read()
        change = self._router.change if self._inner.has_router() else self._router.change_stored
        change(lambda state: replace(state, canary="", share=get_full_share(side)))
        if good:
            self._inner.deploy(gray_release.deployment, sink)
        elif known.running is not None:
            self._inner.deploy(known.running, sink)
        self.gray_store.write(replace(gray_release.add_counts(self._router.read_counts()), settled=True))
        if not good and gray_release.release == about:
            self._went_back = True
            raise RolledBack(
                f"{gray_release.release} was rolled back: {gray_release.rollout.reason}",
                remedy="see its history: devbox release status",
            )

    # The view of a stage on its home.

    def _set_own_stage(self, deployment: Deployment) -> Deployment:
        return replace(deployment, stage=self._stage)

    def _convert_observed(self, seen: StageObserved, known: StageDeployments) -> StageObserved:
        """Return the home's release with this stage's config; any other release is the canary."""
        having = next((each for each in known.all_deployments if each.release.id == seen.release), None)
        if having is None:
            return seen
        config = seen.config if self._stage is self._home else self._set_own_stage(having).config_digest
        return replace(seen, config=config, digests=_select_digests(having, seen.digests))


def _check_not_held(gray_release: GrayRelease, stage: str) -> None:
    """Raise UsageError if the release is held: it must not be completed."""
    if gray_release.rollout.phase == HOLD and gray_release.rollout.held:
        raise UsageError(f"cannot promote to {stage}: {gray_release.release} is held", remedy="devbox release resume")


def _select_digests(deployment: Deployment, digests: dict[str, str]) -> dict[str, str]:
    """Return the digests of a deployment's containers."""
    own = f"-{stage_containers.compute_mark(deployment)}"
    return {name: digest for name, digest in digests.items() if name.endswith(own)}


def select_target(project: Project, desired: Desired, stage: Stage) -> StageTarget:
    """Return the local target of a stage; a GrayTarget if a stage of the file shifts traffic in the environment."""
    home = desired.stages[stage.environment]
    shifting = [each for each in desired.stages.values() if each.strategy.kind == GRAY]
    through = next((each.name for each in shifting if each.environment == stage.environment), "")
    # Two releases serve in parallel at times, also during a rollback.
    strategy = BLUE_GREEN if through and home.strategy.kind == RECREATE else home.strategy.kind
    inner = LocalTarget(project, home.name, allowed=desired.allowed, strategy=strategy, drain=home.drain)
    if not through:
        return inner
    return GrayTarget(
        inner,
        stage=stage,
        home=home,
        through=through,
        ledger=Ledger(project.paths, project.id),
        around=MetricScope(root=project.root, allowed=desired.allowed),
    )
