"""A gray release inside a stage's environment: warmed beside what runs, shifted to step by step, kept or taken back.

Implements `promotion.environment.Environment` for a stage whose strategy is gray, and for the one in whose environment
another shifts traffic. Every verb that was killed is simply called again.
"""

from __future__ import annotations

import time
from dataclasses import replace

from devbox.errors import DevboxError, TakenBack, UsageError
from devbox.execute.controller import Controller, Sight, completing
from devbox.execute.events import Looked, Note, Sink
from devbox.execute.ground import RoutedGround
from devbox.execute.measures import Measures, Place
from devbox.execute.trials import Trials, Wish
from devbox.gray import exposition, policy
from devbox.gray.decide import steered
from devbox.gray.glance import glance
from devbox.gray.rollout import ABORTED, HOLD, STABLE, WARM, Rollout
from devbox.gray.trial import Trial
from devbox.model.entry import APPLIED
from devbox.model.resolved import Resolved
from devbox.model.stage import Deployment, Stage, StageObserved
from devbox.model.traffic import Batch, Side
from devbox.opened import Project
from devbox.plan import staging
from devbox.plan.rollout import BLUE_GREEN, RECREATE
from devbox.promotion import course
from devbox.promotion.environment import Environment
from devbox.promotion.history import History
from devbox.records.deployed import Deployed
from devbox.records.ledger import Ledger
from devbox.routing.cohort import BASELINE
from devbox.routing.state import RouterState, all_on, other
from devbox.verbs.environments import StageEnvironment
from devbox.verbs.measuring import Around

GRAY = "gray"  # the kind of strategy, and of what is entered into the ledger on the way
ENDS = (HOLD, STABLE, ABORTED)


class GrayEnvironment:
    """`stage` is promoted to; `home` is the stage whose environment that is, the same where it shifts by itself.

    `through`: the stage that shifts in it.
    """

    def __init__(
        self, inner: StageEnvironment, *, stage: Stage, home: Stage, through: str, ledger: Ledger, around: Around
    ) -> None:
        self._inner = inner
        self._around = around
        self._stage = stage
        self._home = home
        self._through = through
        self._ledger = ledger
        self._router = inner.router
        self._record = inner.record
        self.trials = Trials(inner.paths, inner.id)
        self._went_back = False
        self._nobody: Deployment | None = None  # let in where nobody is to be shifted

    @property
    def home(self) -> str:
        """The stage in whose environment it happens."""
        return self._home.name

    @property
    def stages(self) -> tuple[str, str]:
        """By which names a person may call it."""
        return self._stage.name, self._home.name

    @property
    def metrics(self) -> str:
        """Where Prometheus finds it; "" where nothing runs."""
        return self._inner.metrics

    @property
    def under_way(self) -> Trial | None:
        """The gray release that has not come to an end."""
        trial = self.trials.read()
        return trial if trial is not None and not trial.over else None

    # What promotion asks.

    def observe(self) -> StageObserved:
        """See `Environment`. A gray stage has the release that passed all its steps, else what its home runs."""
        seen, known = self._inner.observe(), self._record.read()
        trial = self.under_way
        if self._nobody is not None:
            own = self._own(self._nobody)
            return StageObserved(release=own.release.id, config=own.config_digest, healthy=True)
        if self._stage is self._home or trial is None:
            return self._as_own(seen, known)
        if trial.rollout.phase != HOLD:
            return replace(seen, release="", config="", healthy=False, digests={})
        return replace(
            seen,
            release=trial.release,
            config=self._own(trial.deployment).config_digest,
            healthy=self._inner.has_router() and self._is_healthy(trial),
            digests=_of(trial.deployment, seen.digests),
        )

    def _is_healthy(self, trial: Trial) -> bool:
        """Whether the canary answers; a router that is just being started again is waited for."""
        return self._router.runtime.repeat(lambda: self._ground(trial).sight().canary_healthy)

    def deploy(self, wanted: Deployment, sink: Sink, *, verify: bool = False) -> None:
        """See `Environment`. Returns when all steps are passed, or all is done; TakenBack where it was not to be."""
        if self._went_back:  # what ran before runs
            return
        self._settle(sink, about=wanted.release.id)
        goal = wanted if self._stage is self._home else replace(wanted, stage=self._home)
        known, trial = self._known(sink), self.under_way
        if trial is not None and trial.release != wanted.release.id:
            if not self._ran(goal, known):
                raise UsageError(
                    f"a gray release of {trial.release} is under way in {self._home.name}",
                    remedy=f"continue it: devbox promote {trial.stage}; take it back: devbox release abort",
                )
            self.abort(sink, by="a rollback")
            trial = None
        again = verify and self._was_rolled_back(goal)
        if self._needs_no_trial(goal, known, trial, sink, again=again):
            return
        self._carry_through(trial or self._begun(goal), sink)

    def retire(self) -> None:
        """See `Environment`. Of a gray stage, only what is on trial goes."""
        if self._stage is self._home:
            self._inner.retire()
        elif self.under_way is not None:
            self.abort(lambda _event: None, by="devbox")

    def abort(self, sink: Sink, *, by: str, began: float = 0.0) -> Trial:
        """Take it back, whoever controlled it before; what it came to. `began`: of the trial that is meant; 0: any."""
        trial = self.under_way
        if trial is None or began not in (0.0, trial.began):
            raise UsageError(f"no gray release is under way in {self._home.name}", remedy="devbox release log")
        over = self._controlled(trial, sink, wish=Wish(what="abort", by=by))
        self._settle(sink, about="")
        return over

    def steer(self, wish: Wish) -> Trial | None:
        """Hold it or let it go on, where nobody controls it just now; None where somebody does.

        None as well where the trial is not the one that is meant.
        """
        with self.trials.controlled() as mine:
            trial = self.under_way
            if not mine or trial is None or wish.began not in (0.0, trial.began):
                return None
            seen = replace(trial, rollout=steered(trial.rollout, wish.what))
            self.trials.write(seen)
            self._enter(seen)
            return seen

    # One gray release.

    def _needs_no_trial(
        self, goal: Deployment, known: Deployed, trial: Trial | None, sink: Sink, *, again: bool
    ) -> bool:
        """Return True if no gray release is needed: no stable release, or the goal ran here. The home deploys it then.

        `again`: it is promoted after a rollback.
        """
        own = self._stage is self._home
        if trial is not None:
            return False
        if known.running is None or known.runs(goal) or (own and not again and self._ran(goal, known)):
            if own:
                self._inner.deploy(goal, sink)
            elif known.running is None:
                self._nobody = goal
                name = self._home.name
                sink(Note(text=f"{name} runs nothing yet: no traffic to shift; next: devbox promote {name}"))
            return True
        if own and self._stage.strategy.kind != GRAY:
            raise UsageError(
                f"{goal.release.id} is not in {self._through} (any more), which leads to {self._home.name}",
                remedy=f"devbox promote {self._through}",
            )
        return False

    def _known(self, sink: Sink) -> Deployed:
        """What the environment runs and ran. If its record is gone, the ledger has the release that runs."""
        known, history = self._record.read(), History(self._ledger.entries())
        entry = history.running(self._home.name) if known.running is None else None
        if entry is not None and (lost := course.deployed(entry, history)) is not None:
            self._record.write(replace(known, running=lost))  # its jobs are done
            self._inner.deploy(lost, sink)
        return self._record.read()

    def _ran(self, goal: Deployment, known: Deployed) -> bool:
        """Whether the environment runs it or ran it; where its own record is gone, the ledger knows."""
        history = History(self._ledger.entries())
        applied = history.of(APPLIED, release=goal.release.id, stage=self._home.name)
        return known.has_run(goal) or any(entry.body.get("config") == goal.config_digest for entry in applied)

    def _was_rolled_back(self, goal: Deployment) -> bool:
        """True if the environment went back from the release, here or on another machine, and did not get it since."""
        return History(self._ledger.entries()).rolled_back(self._home.name, goal.release.id) is not None

    def _begun(self, goal: Deployment) -> Trial:
        """A new trial, written before anything is done about it. What was said about another one is forgotten."""
        self.trials.asked()
        own = self._stage is self._home
        rules = policy.of(self._stage.strategy, completes=own)
        side = self._router.state.idle
        trial = Trial(
            stage=self._stage.name,
            deployment=goal,
            policy=rules,
            rollout=Rollout.begin(rules),
            side=side,
            began=time.time(),
            counts_before=self._router.counts(),
        )
        self.trials.write(trial)
        return trial

    def _carry_through(self, trial: Trial, sink: Sink) -> None:
        """From wherever it stands to the end of this promotion."""
        wish = None
        if trial.rollout.phase == WARM:
            self._warm(trial, sink)
        if self._stage is self._home:
            _check_not_held(trial, self._home.name)
            trial = completing(trial)
            wish = Wish(what="complete", by="the promotion") if trial.rollout.phase == HOLD else None
        elif trial.rollout.phase == HOLD and self._inner.has_router():
            return
        self._controlled(trial, sink, wish=wish)
        self._settle(sink, about=trial.release)

    def _warm(self, trial: Trial, sink: Sink) -> None:
        """The release up beside what runs, and known to the router as being on trial."""

        def on_trial(state: RouterState) -> RouterState:
            return replace(state, canary=trial.side, share=all_on(other(trial.side)))

        running = self._record.read().running
        if running is not None and not self._inner.has_router():
            self._inner.deploy(running, sink)
        self._router.change(on_trial)
        for side in (trial.side, *((BASELINE,) if trial.policy.fresh else ())):
            self._router.count_anew(side)
        try:
            self._inner.warm(trial.deployment, sink, stable=running if trial.policy.fresh else None)
        except DevboxError as error:
            self.trials.write(replace(trial, rollout=trial.rollout.enter(ABORTED, error.sentence)))
            self._settle(sink, about="")
            raise

    def _controlled(self, trial: Trial, sink: Sink, *, wish: Wish | None) -> Trial:
        with self.trials.controlled() as mine:
            if not mine:
                raise UsageError(
                    f"another devbox controls this gray release (pid {self.trials.controller() or 'unknown'})",
                    remedy="devbox release show, hold, resume, abort",
                )
            self._catch_up(trial)
            if not self._inner.has_router():
                return self._fallen(trial)
            asked = () if wish and wish.what == "abort" else trial.policy.outside
            with Measures(asked, self._place(trial)) as measures, self._router.counting():
                return self._controller(sink, trial, wish, measures).run(trial)

    def _fallen(self, trial: Trial) -> Trial:
        """A trial whose environment was stopped, as by a reboot: nobody is on the new release any more."""
        gone = trial.rollout.enter(ABORTED, "its environment was stopped meanwhile")
        over = trial.after(gone, Batch(canary=Side(), stable=Side()), now=time.time(), threshold=0)
        self.trials.write(over)
        self._enter(over)
        return over

    def _controller(self, sink: Sink, trial: Trial, wish: Wish | None, measures: Measures) -> Controller:
        known = {"changes": len(trial.changes)}

        def on_look(seen: Trial, _sight: Sight) -> None:
            changed, known["changes"] = len(seen.changes) > known["changes"], len(seen.changes)
            self._router.tell(exposition.text(seen), keep=changed)
            sink(Looked(glance=glance(seen), changed=changed))

        return Controller(
            trials=self.trials,
            ground=self._ground(trial),
            until=(STABLE, ABORTED) if trial.policy.completes else ENDS,
            readings=measures.take,
            on_look=on_look,
            on_change=self._enter,
            on_away=lambda: sink(Note(text="the router does not answer: nothing is decided until it is back")),
            wish=wish,
        )

    def _ground(self, trial: Trial) -> RoutedGround:
        process = self._stage.strategy.process
        return RoutedGround(
            runtime=self._router.runtime,
            canary=trial.side,
            processes=(process,) if process else (),
            keep=self._router.keep_share,
            restarts=lambda: self._inner.restarts(trial.deployment),
            counts=self._router.counts,
            baseline=trial.policy.fresh,
        )

    def _place(self, trial: Trial) -> Place:
        running = self._record.read().running
        return self._around.place(
            trial, stage=self._stage, home=self._home, address=self._inner.address, stable=running
        )

    def _enter(self, trial: Trial) -> None:
        """The ledger has every phase and step, with the counts at that moment."""
        self._ledger.append(GRAY, release=trial.release, stage=trial.stage, body=trial.entry())

    def _catch_up(self, trial: Trial) -> None:
        """Enter what a controller kept and was killed before it had entered."""
        mine = (each for each in reversed(self._ledger.entries()) if each.kind == GRAY and each.stage == trial.stage)
        last = next((each for each in mine if each.release == trial.release), None)
        rollout = trial.rollout
        place = {"phase": rollout.phase, "step": rollout.step, "held": rollout.held}
        if trial.changes and (last is None or any(last.body[name] != value for name, value in place.items())):
            self._enter(trial)

    def _settle(self, sink: Sink, *, about: str) -> None:
        """What is over is made so: all traffic on one side for good, the other one gone.

        TakenBack where it failed, and this release was wanted.
        """
        trial = self.trials.read()
        if trial is None or not trial.over or trial.settled:
            return
        self._catch_up(trial)
        good = trial.rollout.phase == STABLE
        side = trial.side if good else other(trial.side)
        known = self._record.read()
        change = self._router.change if self._inner.has_router() else self._router.keep
        change(lambda state: replace(state, canary="", share=all_on(side)))
        if good:
            self._inner.deploy(trial.deployment, sink)
        elif known.running is not None:
            self._inner.deploy(known.running, sink)
        self.trials.write(replace(trial.counted(self._router.counts()), settled=True))
        if not good and trial.release == about:
            self._went_back = True
            raise TakenBack(
                f"{trial.release} was taken back: {trial.rollout.reason}",
                remedy="devbox release report shows how it went",
            )

    # What a stage says of its home.

    def _own(self, deployment: Deployment) -> Deployment:
        return replace(deployment, stage=self._stage)

    def _as_own(self, seen: StageObserved, known: Deployed) -> StageObserved:
        """What the home runs, as this stage would have it; whatever else is there is on trial."""
        having = next((each for each in known.all if each.release.id == seen.release), None)
        if having is None:
            return seen
        config = seen.config if self._stage is self._home else self._own(having).config_digest
        return replace(seen, config=config, digests=_of(having, seen.digests))


def _check_not_held(trial: Trial, stage: str) -> None:
    """Who holds a release that waits for its promotion does not want it completed."""
    if trial.rollout.phase == HOLD and trial.rollout.held:
        raise UsageError(f"{trial.release} is held, so {stage} does not get it", remedy="devbox release resume")


def _of(deployment: Deployment, digests: dict[str, str]) -> dict[str, str]:
    """Those of the containers of a deployment."""
    mine = f"-{staging.mark(deployment)}"
    return {name: digest for name, digest in digests.items() if name.endswith(mine)}


def here(opened: Project, resolved: Resolved, stage: Stage) -> Environment:
    """A stage's environment on this machine; one in which traffic is shifted where a stage of the file wants that."""
    home = resolved.stages[stage.environment]
    shifting = [each for each in resolved.stages.values() if each.strategy.kind == GRAY]
    through = next((each.name for each in shifting if each.environment == stage.environment), "")
    # Two releases serve there side by side at times; so they do when one goes back.
    strategy = BLUE_GREEN if through and home.strategy.kind == RECREATE else home.strategy.kind
    inner = StageEnvironment(opened, home.name, allowed=resolved.allowed, strategy=strategy, drain=home.drain)
    if not through:
        return inner
    return GrayEnvironment(
        inner,
        stage=stage,
        home=home,
        through=through,
        ledger=Ledger(opened.paths, opened.id),
        around=Around(root=opened.root, allowed=resolved.allowed),
    )
