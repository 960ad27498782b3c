"""Verbs that end in images nobody has to be up for: a release, and what `devbox install` takes its files from."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from devbox.errors import BakeFailed, UsageError
from devbox.execute import outputs
from devbox.execute.events import Sink
from devbox.host.revision import revision
from devbox.model.image import Baked, keyed
from devbox.model.plan import Plan
from devbox.model.release import Release, release_id
from devbox.model.resolved import Resolved
from devbox.model.verdict import Verdict
from devbox.opened import Project, carry_out, complete_lock, exclusive, fixed, load, load_trusted, look
from devbox.plan import building
from devbox.plan.ports import remember
from devbox.records import lockfile
from devbox.records.places import PlaceRecord
from devbox.records.releases import Releases

if TYPE_CHECKING:
    from devbox.verbs.signing import Named, Signed

IMAGE = "image"


@dataclass(frozen=True)
class Made:
    """What `devbox build` did, and the release that came of it."""

    plan: Plan
    release: Release
    image: Baked
    signed: Signed | None = None


def build(opened: Project, sink: Sink, *, locked: bool = False, by: Named | None = None) -> Made:
    """Make the release of the file as it is: `[build]`, then `[image]`. The same inputs give the same release.

    `by`: who signs it, and says from what it was built.
    """
    started = dt.datetime.now(dt.UTC)
    PlaceRecord(opened.paths, opened.id).check(opened.root, opened.env_file, begins=True)
    with exclusive(opened, sink):
        resolved = load_trusted(opened)
        config = resolved.release
        if config is None:
            raise UsageError(
                f"{opened.env_file} has no [image], so there is nothing to release",
                remedy='write [image] with from = "…" and copy = { … }: docs/how-to/releases.md',
            )
        source = _source(opened, resolved)
        made, resolved = make(opened, resolved, sink, images=(IMAGE,), always=True, locked=locked)
        image = baked(opened, resolved, IMAGE)
        release = Release(
            id=release_id(image=image.digest, config=config, source=source),
            image=image.digest,
            config=config,
            source=source,
            created_at=dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        )
        Releases(opened.paths, opened.id).add(release)
        if by is None:
            return Made(made, release, image)
        from devbox.verbs import signing

        return Made(made, release, image, signing.sign_built(opened, resolved, release, by, started=started))


def make(
    opened: Project,
    resolved: Resolved,
    sink: Sink,
    *,
    images: tuple[str, ...],
    always: bool = False,
    locked: bool = False,
) -> tuple[Plan, Resolved]:
    """Bake images of the file, after the build whose output they copy (`always`: also where they copy none).

    The instance is held. What was not up before is not up afterwards.
    """
    resolved = fixed(opened, resolved, locked=False)
    now = outputs.current(resolved.build, resolved, opened.store) if resolved.build else None
    output = outputs.known(now, opened.store) if now else None
    if output:
        resolved = outputs.put_in(resolved, output.diff_id)
    observed = look(opened, resolved)
    wanted = now if not output and (always or _copies(resolved, images)) else None
    reason = building.why_build(wanted, opened.records.last_build()) if wanted else ""
    made = building.plan(resolved, observed, images=images, build=reason)
    if made:
        opened.store.sweep()
        opened.records.remember_place(opened.root, opened.env_file)
        opened.records.remember_ports(remember(observed.ports))
        with _nothing_left(opened, resolved, standing=observed.standing):
            resolved = carry_out(opened, made, resolved, observed, sink, locked=locked)
    _remember(opened, resolved, images)
    if not locked:
        complete_lock(opened, resolved, sink)
    return made, resolved


def _copies(resolved: Resolved, images: tuple[str, ...]) -> bool:
    """Whether any of the images copies what `[build]` puts out, or stands on one that does."""
    chains = (keyed(name, resolved.images).chain for name in images)
    return any(outputs.is_about_output(link.step for link in chain) for chain in chains)


def _remember(opened: Project, resolved: Resolved, images: tuple[str, ...]) -> None:
    """Keep what was made from what, for the next time's reasons, and so that it is not collected."""
    records = opened.records
    if resolved.build is not None:
        inputs = outputs.current(resolved.build, resolved, opened.store)
        if inputs != records.last_build():
            records.remember_build(inputs)
        images = (*images, resolved.build.container.image)
    last, now = records.last(), {name: keyed(name, resolved.images) for name in images}
    if last.images | now != last.images:
        records.remember(replace(last, images=last.images | now))


def baked(opened: Project, resolved: Resolved, name: str) -> Baked:
    """An image of the file that was made just now."""
    found = opened.store.find(keyed(name, resolved.images).key)
    if found is None:
        raise BakeFailed(f"the image of [{name}] is gone from the store", remedy="devbox build makes it again")
    return found


def why_build(opened: Project) -> tuple[Verdict, ...]:
    """What changed about `[build]` since it ran last."""
    resolved = fixed(opened, load(opened), locked=False)
    if resolved.build is None:
        raise UsageError(f"{opened.env_file} has no [build]", remedy="devbox why image NAME")
    now = outputs.current(resolved.build, resolved, opened.store)
    built = outputs.known(now, opened.store) is not None
    return building.verdicts(now, opened.records.last_build(), built=built)


def releases(opened: Project) -> list[Release]:
    """The releases of the project on this machine, the newest first."""
    return Releases(opened.paths, opened.id).all()


def release(opened: Project, name: str) -> Release:
    """The release of an id or its first digits; the newest for ""."""
    return Releases(opened.paths, opened.id).find(name)


def _source(opened: Project, resolved: Resolved) -> str:
    """The revision of the project's files."""
    lock = lockfile.path("", opened.env_file).lstrip("/")
    files = outputs.current(resolved.build, resolved, opened.store).files if resolved.build else {}
    return revision(opened.root, files, but=(lock,))


@contextlib.contextmanager
def _nothing_left(opened: Project, resolved: Resolved, *, standing: bool) -> Iterator[None]:
    """Take the build's container away afterwards, whatever happened; and everything, where nothing was up before."""
    try:
        yield
    finally:
        if not standing:
            opened.engine.teardown(resolved.instance, volumes=False)
        elif resolved.build is not None:
            opened.engine.remove(resolved.instance, resolved.build.container.name)
