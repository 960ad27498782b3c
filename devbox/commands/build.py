"""Implementation of `build`, and of image builds for `devbox install`."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from devbox.errors import BakeFailed, UsageError
from devbox.execute import outputs
from devbox.execute.events import Sink
from devbox.host.revision import compute_revision
from devbox.model.image import BakedImage, key_image
from devbox.model.plan import Plan, Verdict
from devbox.model.release import Release, compute_release_id
from devbox.model.spec import Desired, Spec
from devbox.plan import building
from devbox.plan.ports import remember
from devbox.project import (
    ApplyContext,
    ApplyOptions,
    LockPolicy,
    Project,
    TrustPolicy,
    apply,
    complete_lock,
    lock_instance,
    observe_instance,
    prepare,
)
from devbox.promotion.history import History
from devbox.records import lockfile
from devbox.records.ledger import Ledger
from devbox.records.projects import PlaceRecord
from devbox.records.releases import Releases

if TYPE_CHECKING:
    from devbox.commands.signing import NamedSigner, SigningResult

IMAGE = "image"


@dataclass(frozen=True)
class BuildResult:
    """Result of `devbox build`: the plan and the release."""

    plan: Plan
    release: Release
    image: BakedImage
    signed: SigningResult | None = None


def build(project: Project, sink: Sink, *, locked: bool = False, by: NamedSigner | None = None) -> BuildResult:
    """Build the release of the current file: `[build]`, then `[image]`. Equal inputs give an equal release.

    `by`: signer of the release and its provenance.
    """
    started = dt.datetime.now(dt.UTC)
    PlaceRecord(project.paths, project.id).check(project.root, project.env_file, begins=True)
    with lock_instance(project, sink):
        desired = prepare(project, lock=LockPolicy.PIN, trust=TrustPolicy.REQUIRE)
        config = desired.release
        if config is None:
            raise UsageError(
                f"missing [image] in {project.env_file}: nothing to release",
                remedy='add [image] with from = "…" and copy = { … }; for details: devbox docs releases',
            )
        source = _compute_source(project, desired)
        baked, desired = make(project, desired, sink, images=(IMAGE,), always=True, locked=locked)
        image = find_baked(project, desired, IMAGE)
        release = Release(
            id=compute_release_id(image=image.digest, config=config, source=source),
            image=image.digest,
            config=config,
            source=source,
            created_at=dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        )
        Releases(project.paths, project.id).add(release)
        if by is None:
            return BuildResult(baked, release, image)
        from devbox.commands import signing

        return BuildResult(baked, release, image, signing.sign_built(project, desired, release, by, started=started))


def make(
    project: Project,
    desired: Desired,
    sink: Sink,
    *,
    images: tuple[str, ...],
    always: bool = False,
    locked: bool = False,
) -> tuple[Plan, Desired]:
    """Build images, after the build whose output they copy (`always`: also without a copy).

    The caller holds the instance lock. An instance that was down is down afterwards.
    """
    now = outputs.read_inputs(desired.build, desired.instance, desired.images, project.store) if desired.build else None
    output = outputs.find_output(now, project.store) if now else None
    if output:
        desired = desired.derive(images=outputs.apply_output(desired.images, output.diff_id))
    observed = observe_instance(project, desired)
    required = now if not output and (always or _has_copies(desired, images)) else None
    reason = building.why_build(required, project.records.read_last_build()) if required else ""
    plan = building.plan(desired, observed, images=images, build=reason)
    if plan:
        project.store.sweep()
        project.records.record_place(project.root, project.env_file)
        project.records.record_ports(remember(observed.ports))
        with _remove_afterwards(project, desired, standing=observed.standing):
            options = ApplyOptions(locked=locked)
            context = ApplyContext(project=project, desired=desired, observed=observed, sink=sink, options=options)
            desired = desired.derive(images=apply(plan, context).images)
    _record_build(project, desired, images)
    if not locked:
        complete_lock(project, desired, sink)
    return plan, desired


def _has_copies(spec: Spec, images: tuple[str, ...]) -> bool:
    """True if an image or one of its bases copies the output of `[build]`."""
    chains = (key_image(name, spec.images).chain for name in images)
    return any(outputs.is_about_output(link.step for link in chain) for chain in chains)


def _record_build(project: Project, spec: Spec, images: tuple[str, ...]) -> None:
    """Record the inputs and images, for later reasons and against garbage collection."""
    records = project.records
    if spec.build is not None:
        inputs = outputs.read_inputs(spec.build, spec.instance, spec.images, project.store)
        if inputs != records.read_last_build():
            records.record_build(inputs)
        images = (*images, spec.build.container.image)
    last, now = records.read_last_applied(), {name: key_image(name, spec.images) for name in images}
    if last.images | now != last.images:
        records.record_applied(replace(last, images=last.images | now))


def find_baked(project: Project, spec: Spec, name: str) -> BakedImage:
    """Return an image of the file that was just built."""
    found = project.store.find(key_image(name, spec.images).key)
    if found is None:
        raise BakeFailed(f"image of [{name}] not found in the store", remedy="devbox build")
    return found


def explain_build(project: Project) -> tuple[Verdict, ...]:
    """Return the changes of `[build]` since its last run."""
    desired = prepare(project, lock=LockPolicy.PIN)
    if desired.build is None:
        raise UsageError(f"missing [build] in {project.env_file}", remedy="devbox why image NAME")
    now = outputs.read_inputs(desired.build, desired.instance, desired.images, project.store)
    built = outputs.find_output(now, project.store) is not None
    return building.list_verdicts(now, project.records.read_last_build(), built=built)


def list_releases(project: Project) -> list[Release]:
    """Return the releases of the project on this host, newest first."""
    return Releases(project.paths, project.id).list_releases()


def find_removable(project: Project, name: str) -> Release:
    """Return a release that no stage runs, receives, or would roll back to. UsageError otherwise."""
    found = Releases(project.paths, project.id).find(name)
    history = History(Ledger(project.paths, project.id).read_entries())
    for stage in {entry.stage for entry in history.entries if entry.stage}:
        needed = (history.find_pending(stage), history.find_current(stage), history.find_previous(stage))
        if found.id in {entry.release for entry in needed if entry is not None}:
            raise UsageError(
                f"cannot remove {found.short_id}: {stage} runs it, receives it, or would roll back to it",
                remedy="devbox release ls",
            )
    return found


def remove_release(project: Project, release: Release) -> None:
    """Remove a release from this host; `image gc` then removes its image."""
    Releases(project.paths, project.id).remove(release)


def _compute_source(project: Project, spec: Spec) -> str:
    """Return the revision of the project's files."""
    lock = lockfile.get_path("", project.env_file).lstrip("/")
    files = outputs.read_inputs(spec.build, spec.instance, spec.images, project.store).files if spec.build else {}
    return compute_revision(project.root, files, but=(lock,))


@contextlib.contextmanager
def _remove_afterwards(project: Project, spec: Spec, *, standing: bool) -> Iterator[None]:
    """Remove the build container in any case; remove everything if nothing ran before."""
    try:
        yield
    finally:
        if not standing:
            project.engine.tear_down(spec.instance, volumes=False)
        elif spec.build is not None:
            project.engine.remove(spec.instance, spec.build.container.name)
