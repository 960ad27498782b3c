"""Actions of a rollout: start a release's containers by digest, verify their images, change the router."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from devbox.deploy.router import Router
from devbox.deploy.stage_containers import Replicas
from devbox.deploy.verification import Verification
from devbox.engines import capabilities
from devbox.engines.engine import Engine, StartRequest
from devbox.errors import EngineError, NotReady
from devbox.execute.actions import Actions, build_image_request
from devbox.execute.events import Note, Sink, StepProgress
from devbox.execute.runner import Action
from devbox.execute.terminal import SecretResolver
from devbox.images.image_store import ImageStore
from devbox.model.observed import ObservedContainer
from devbox.model.plan import Backend, Op, Step
from devbox.model.router import RouterState, Server, get_full_share
from devbox.model.spec import Spec
from devbox.model.traffic import Side


class RolloutActions:
    """Actions of one rollout. Services and the router are started by `base`, as in any instance."""

    def __init__(
        self,
        base: Actions,
        spec: Spec,
        *,
        replicas: Replicas,
        engine: Engine,
        store: ImageStore,
        router: Router,
        secrets: SecretResolver,
        sink: Sink,
        drain: float,
        verify: float = 0.0,
    ) -> None:
        """`replicas`: those of the new release and of a baseline.

        `drain`: seconds that open connections may last on containers without new requests.
        `verify`: seconds to observe the release once it has the traffic.
        """
        self._base = base
        self._spec = spec
        self._specs, self._digests, self._served = replicas.specs, replicas.digests, replicas.served
        self._engine = engine
        self._store = store
        self._router = router
        self._sink = sink
        self._secrets = secrets
        self._drain = drain
        self._seconds = verify
        services = [container.name for container in replicas.specs.values() if container.kind != "job"]
        self._verification = Verification(engine=engine, instance=spec.instance, router=router, names=services)
        self._before: Side | None = None  # of the previous release

    def build_table(self) -> Mapping[Op, Action]:
        """Return the action of each op."""
        own = {Op.START: self.start, Op.ADMIT: self.admit, Op.SWITCH: self.switch, Op.DRAIN: self.drain}
        own[Op.VERIFY] = self.verify
        later = {Op.FINISH: self.finish, Op.RETIRE: self.retire, Op.REMOVE: self.remove, Op.RELOAD: self.reload}
        return {**self._base.build_table(), **own, **later}

    def start(self, step: Step) -> str:
        """Start a container, wait until it is ready and verify its image; run a job to completion."""
        spec = self._specs.get(step.resource)
        if spec is None:
            return self._base.start(step)
        instance = self._spec.instance
        desired = build_image_request(
            spec, self._store.load_by_digest(self._digests[spec.name]), ports=(), secrets=self._secrets
        )
        seen = self._engine.observe(instance).containers.get(spec.name)
        if seen is not None and not self._matches(seen, desired):
            self._engine.remove(instance, spec.name)
        capabilities.start(self._engine, instance, desired)
        try:
            ready = self._engine.wait_ready(instance, spec.name)
        except NotReady as error:
            error.where = error.where or spec.where
            error.remedy = f"devbox logs --stage {instance.stage} {spec.name}"
            raise
        if spec.kind == "job":
            return f"exited with code {ready.exit_code}"
        self._check_image(spec.name)
        return f"{'running' if ready.health == 'none' else ready.health}, verified"

    def admit(self, step: Step) -> str:
        """Add a container to the router's servers after verifying its image."""
        assert isinstance(step.resource, Backend)  # noqa: S101 - as planned by `strategies`
        side, spec = step.resource.side, self._specs[step.resource.container]
        self._check_image(spec.name)
        served = self._served[spec.name]
        address = self._engine.observe(self._spec.instance).addresses[spec.name]
        server = Server(name=spec.name, address=address, port=served.target, check=served.check)

        def admit(state: RouterState) -> RouterState:
            return state.remove_servers(frozenset({spec.name})).add_servers(served.process, side, (server,))

        self._record_old_traffic()
        self._router.change(admit)
        return f"serves at {address}:{served.target}"

    def switch(self, step: Step) -> str:
        """Move all traffic to a side."""
        self._record_old_traffic()
        share = get_full_share(step.resource)
        self._router.change(lambda state: replace(state, share=share))
        return f"all traffic is on {step.resource}"

    def verify(self, step: Step) -> str:
        """Observe the release for a while; VerifyFailed if it is unhealthy."""
        self._record_old_traffic()  # a promotion killed after the switch: traffic of the old replicas
        requests = self._verification.run(
            self._seconds, before=self._before or Side(), on_text=self._make_reporter(step)
        )
        return f"healthy, {requests} requests" if requests else "healthy by its health checks, without requests"

    def _record_old_traffic(self) -> None:
        """Keep the counts of the old release: its servers may be gone when the new release is compared."""
        if self._seconds and self._before is None:
            self._before = self._verification.read_traffic()

    def drain(self, step: Step) -> str:
        """Stop sending requests to a container; wait for short requests."""
        left = self._router.drain(step.resource, self._make_reporter(step))
        return f"{_format_connections(left)} still open" if left else "no open connections"

    def finish(self, step: Step) -> str:
        """Wait for long connections of a container up to the stage's limit; count those that are cut."""
        if cut := self._router.finish(step.resource, seconds=self._drain, on_text=self._make_reporter(step)):
            self._sink(Note(text=f"{step.resource}: cut {_format_connections(cut)}, open after {self._drain:g} s"))
            return f"cut {_format_connections(cut)}"
        return "no open connections"

    def retire(self, step: Step) -> str:
        """Stop a container without open connections; otherwise leave it to `remove`."""
        if left := self._router.count_open(step.resource):
            return f"kept for {_format_connections(left)}"
        return self.remove(step)

    def _make_reporter(self, step: Step) -> Callable[[str], None]:
        shown = ""

        def show(text: str) -> None:
            nonlocal shown
            if text != shown:
                shown = text
                self._sink(StepProgress(id=step.id, text=text))

        return show

    def reload(self, step: Step) -> str:
        """Make the router reload its files."""
        instance = self._spec.instance
        self._router.reload(lambda: capabilities.send_signal(self._engine, instance, step.resource, "USR2"))
        return "files reloaded"

    def remove(self, step: Step) -> str:
        """Stop a container by its stop signal and remove it."""
        if step.resource not in self._engine.observe(self._spec.instance).containers:
            return "already removed"
        self._router.settle(step.resource)
        self._engine.remove(self._spec.instance, step.resource)
        return "stopped"

    def _check_image(self, name: str) -> None:
        """Raise EngineError and take a container out of the router if it does not run its image."""
        if fault := self._find_fault(name):
            if name in self._router.state.list_container_names():
                self._router.shut_out(name)
            raise EngineError(f"{fault}: container not admitted", remedy="devbox image verify; then promote again")

    def _find_fault(self, name: str) -> str:
        """Return what is wrong with a container's image; "" if nothing."""
        desired = self._digests[name]
        try:
            found = capabilities.verify_image(self._engine, self._spec.instance, name)
        except EngineError as error:
            return error.sentence
        other = found or "an image that does not match its digest"
        return "" if found == desired else f"{name} runs {other}, not {desired}"

    def _matches(self, seen: ObservedContainer, desired: StartRequest) -> bool:
        """True if a container matches the request; a finished job's image is not verified."""
        same = (seen.spec_key, seen.image_key) == (desired.spec_key, desired.image.key)
        return same and (seen.state != "running" or desired.spec.kind == "job" or not self._find_fault(seen.name))


def _format_connections(number: int) -> str:
    return f"{number} long connection{'s' * (number != 1)}"
