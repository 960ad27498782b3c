"""The lockfile and the images of a file: pins, missing entries and changes. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from devbox.errors import UsageError
from devbox.model.container import fingerprint_variables
from devbox.model.image import (
    BakeStep,
    Bootstrap,
    Copy,
    Files,
    FromDockerfile,
    FromRegistry,
    FromTarball,
    ImageSpec,
    Packages,
    Run,
    describe,
    is_unpinned,
    key_image,
    pin_step,
)
from devbox.model.observed import LastApplied, Observed
from devbox.model.spec import Lockfile, Spec, Versions
from devbox.plan import matrix, order


def find_image(spec: Spec, name: str) -> str:
    """Return the image of a table, named `base.py` or in short `py`. UsageError if there is none."""
    full = next((image for image in spec.images if name in (image, image.partition(".")[2])), None)
    if full is None:
        known = ", ".join(spec.images) or "none"
        raise UsageError(f"image {name} not found in {spec.instance.env_file}", remedy=f"known: {known}")
    return full


def name_steps(steps: Sequence[BakeStep]) -> tuple[str, ...]:
    """Return the lockfile names of an image's steps: their descriptions, numbered if equal."""
    names: list[str] = []
    for step in steps:
        name = describe(step)
        same = sum(other == name or other.startswith(f"{name} #") for other in names)
        names.append(f"{name} #{same + 1}" if same else name)
    return tuple(names)


def is_built(image: str) -> bool:
    """True if an image is built by `devbox build`, `install` or `test` rather than `devbox up`."""
    return matrix.parse_label(image).partition(".")[0] in ("build", "image", "install", "test")


def unlock_images(images: Mapping[str, ImageSpec]) -> dict[str, ImageSpec]:
    """Return the images without any pins."""
    return {name: dataclasses.replace(spec, steps=tuple(map(_unpin, spec.steps))) for name, spec in images.items()}


def _unpin(step: BakeStep) -> BakeStep:
    match step:
        case Bootstrap() | Packages() | FromDockerfile():
            return dataclasses.replace(step, pins=None, prefer={})
        case FromRegistry() | Run():
            return dataclasses.replace(step, pins=None)
        case Files() | FromTarball() | Copy():
            return step


def lock_images(
    images: Mapping[str, ImageSpec], lock: Lockfile, *, names: Mapping[str, str] | None = None
) -> dict[str, ImageSpec]:
    """Pin the steps of images to the lockfile. `names`: label → lockfile name, if different.

    If packages were added to a list, the versions of the old step in the lockfile are preferred.
    """
    called = names or {}
    return {name: _lock_image(spec, lock, called.get(name, name)) for name, spec in images.items()}


def _lock_image(spec: ImageSpec, lock: Lockfile, called: str) -> ImageSpec:
    entries = lock.images.get(called, {})
    names = name_steps(spec.steps)
    old = {name: version for step, found in entries.items() if step not in names for name, version in found.items()}
    steps: list[BakeStep] = []
    for name, step in zip(names, spec.steps, strict=True):
        if isinstance(step, FromTarball):
            steps.append(dataclasses.replace(step, content=lock.tarballs.get(step.path, "")))
        elif (found := _find_entry(step, name, lock, entries)) is not None:
            steps.append(pin_step(step, found))
        else:
            steps.append(dataclasses.replace(step, prefer=old) if isinstance(step, Packages) else step)
    return dataclasses.replace(spec, steps=tuple(steps))


def _find_entry(step: BakeStep, name: str, lock: Lockfile, entries: Mapping[str, Versions]) -> Versions | None:
    if isinstance(step, FromRegistry):
        digest = lock.references.get(step.reference)
        return {step.reference: digest} if digest else None
    return lock.bases.get(name) if isinstance(step, Bootstrap) else entries.get(name)


def unpin_images(
    images: Mapping[str, ImageSpec], names: Iterable[str] | None
) -> tuple[dict[str, ImageSpec], tuple[str, ...]]:
    """Return the images without the pins of `names` (default: all), and the names of the changed images."""
    if names is None:
        return unlock_images(images), tuple(images)
    upgradable = list_upgradable(images)
    for name in names:
        if name not in upgradable:
            raise UsageError(
                f"{name} not found in the lockfile: not an image, recipe, base system or package",
                remedy="use a name of devbox.lock.toml, or renew all entries: devbox update",
            )
    loose = loosen_images(images, names)
    return loose, tuple(name for name, spec in loose.items() if spec != images[name])


def loosen_images(images: Mapping[str, ImageSpec], names: Iterable[str]) -> dict[str, ImageSpec]:
    """Return the images without pins for `names`: images, recipes, base systems or packages.

    Other versions of an affected step stay preferred, except packages of the same version as a named one: they are most
    likely built from the same source.
    """
    desired = frozenset(names)
    return {
        name: dataclasses.replace(spec, steps=tuple(_loosen_step(spec, step, desired) for step in spec.steps))
        for name, spec in images.items()
    }


def _loosen_step(spec: ImageSpec, step: BakeStep, desired: frozenset[str]) -> BakeStep:
    held = _list_held(step)
    if held is None or isinstance(step, Files | FromTarball | Copy):
        return step
    whole = describe(step) in desired or (not isinstance(step, Bootstrap) and _is_called(spec, desired))
    going = {held[name] for name in desired if name in held}
    if not (whole or going):
        return step
    if isinstance(step, FromRegistry | Run):
        return dataclasses.replace(step, pins=None)
    prefer = {} if whole else {name: version for name, version in held.items() if version not in going}
    return dataclasses.replace(step, pins=None, prefer=prefer)


def _list_held(step: BakeStep) -> Versions | None:
    """Return the versions that an upgrade would unpin; None if nothing is pinned."""
    match step:
        case Files() | FromTarball() | Copy():
            return None
        case FromDockerfile(pins=None):
            return step.prefer or None
        case _:
            return step.pins


def _is_called(spec: ImageSpec, names: frozenset[str]) -> bool:
    return bool({*_list_names(spec.name), spec.recipe} & names)


def _list_names(image: str) -> tuple[str, ...]:
    """Return the accepted names of an image: with or without its role, and a variant's label."""
    names = (name for whole in (image, matrix.parse_label(image)) for name in (whole, whole.partition(".")[2]))
    return tuple(filter(None, dict.fromkeys(names)))


def list_upgradable(images: Mapping[str, ImageSpec]) -> dict[str, str]:
    """Return every name that can be upgraded, with its kind."""
    found: dict[str, str] = {}
    for spec in images.values():
        for step in spec.steps:
            found |= dict.fromkeys(_list_held(step) or {}, "a package")
    for spec in images.values():
        found |= {describe(step): "a base system" for step in spec.steps if isinstance(step, Bootstrap)}
        found |= {spec.recipe: "a recipe"} if spec.recipe else {}
        found |= dict.fromkeys(_list_names(spec.name), "an image")
    return found


def collect_lock(images: Mapping[str, ImageSpec], recipes: Mapping[str, str], before: Lockfile) -> Lockfile:
    """Return the lockfile of the images: pinned steps get entries, others keep the previous ones."""
    used = {spec.recipe for spec in images.values() if spec.recipe}
    bases: dict[str, Versions] = {}
    references: dict[str, str] = {}
    tarballs: dict[str, str] = {}
    entries: dict[str, dict[str, Versions]] = {}
    for name, spec in images.items():
        own = {} if _is_fixed(spec) else dict(before.images.get(name, {}))
        for step_name, step in zip(name_steps(spec.steps), spec.steps, strict=True):
            if isinstance(step, Files | Copy):
                continue
            if isinstance(step, FromTarball):
                tarballs[step.path] = step.content or before.tarballs.get(step.path, "")
            elif isinstance(step, FromRegistry):
                references |= step.pins or _find_entry(step, step_name, before, {}) or {}
            elif isinstance(step, Bootstrap):
                found = before.bases.get(step_name) if step.pins is None else step.pins
                bases |= {} if found is None else {step_name: found}
            elif step.pins is not None:
                own[step_name] = step.pins
        entries |= {name: own} if own else {}
    return Lockfile(
        recipes={name: digest for name, digest in recipes.items() if name in used},
        references=references,
        tarballs={path: digest for path, digest in tarballs.items() if digest},
        bases=bases,
        images=entries,
    )


def retain_cell_entries(before: Lockfile, after: Lockfile) -> Lockfile:
    """Keep the entries of other matrix cells in a new lockfile that covers only some images."""
    others = {name: steps for name, steps in before.images.items() if matrix.parse_label(name) != name}
    return Lockfile(
        recipes={**before.recipes, **after.recipes},
        references={**before.references, **after.references},
        tarballs={**before.tarballs, **after.tarballs},
        bases={**before.bases, **after.bases},
        images={**others, **after.images},
    )


def _is_fixed(spec: ImageSpec) -> bool:
    """True if every installing step is pinned."""
    return not any(is_unpinned(step) for step in spec.steps if not _may_be_empty(step))


def _may_be_empty(step: BakeStep) -> bool:
    """True if a step may have no entry: commands, and Dockerfiles without a base image from a registry."""
    return isinstance(step, Run) or (isinstance(step, FromDockerfile) and not step.begins)


def list_missing(images: Mapping[str, ImageSpec], recipes: Mapping[str, str], lock: Lockfile) -> list[str]:
    """List missing and outdated lockfile entries of these images, one sentence each."""
    sentences = [
        f"the recipe {name} {'has changed' if name in lock.recipes else 'has no entry'}"
        for name in dict.fromkeys(spec.recipe for spec in images.values() if spec.recipe)
        if lock.recipes.get(name) != recipes.get(name)
    ]
    for spec in images.values():
        for name, step in zip(name_steps(spec.steps), spec.steps, strict=True):
            if isinstance(step, FromTarball):
                sentences += _check_tarball(step, lock)
            elif is_unpinned(step) and not isinstance(step, Run | FromDockerfile):
                what = name if isinstance(step, Bootstrap) else f"{spec.name}: {name}"
                sentences.append(f"{what} has no entry")
    return list(dict.fromkeys([*sentences, *list_unknown_bases(images)]))


def list_unknown_bases(images: Mapping[str, ImageSpec]) -> list[str]:
    """List missing entries of Dockerfile base images that have been resolved, one sentence each."""
    return [
        f"{spec.name}: {name}: {base} has no entry"
        for spec in images.values()
        for name, step in zip(name_steps(spec.steps), spec.steps, strict=True)
        if isinstance(step, FromDockerfile)
        for base in step.begins
        if base not in (step.pins or step.prefer)
    ]


def _check_tarball(step: FromTarball, lock: Lockfile) -> list[str]:
    """Check the lockfile entry of a tarball; its content may not have been read yet."""
    locked = lock.tarballs.get(step.path)
    if locked and step.content in ("", locked):
        return []
    return [f"the tarball {step.path} {'has changed' if locked else 'has no entry'}"]


def list_additions(before: Lockfile, after: Lockfile) -> list[str]:
    """List new and changed entries; for steps, also entries with surplus versions."""
    steps = _list_steps(before).keys() & _list_steps(after).keys()
    return [
        title
        for title, old, now in _list_sections(before, after)
        if any(old.get(name) != version for name, version in now.items()) or (title in steps and old != now)
    ]


def list_changes(before: Lockfile, after: Lockfile) -> list[str]:
    """List differences, one line each: `+` added, `-` removed, `~` changed version."""
    lines: list[str] = []
    for title, old, now in _list_sections(before, after):
        if old == now:
            continue
        lines.append(title)
        for name in sorted(old.keys() | now.keys()):
            if name not in old:
                lines.append(f"  + {name} {now[name]}")
            elif name not in now:
                lines.append(f"  - {name} {old[name]}")
            elif old[name] != now[name]:
                lines.append(f"  ~ {name} {old[name]} → {now[name]}")
    return lines


def _list_sections(before: Lockfile, after: Lockfile) -> list[tuple[str, Versions, Versions]]:
    names = sorted(before.bases.keys() | after.bases.keys())
    old, now = _list_steps(before), _list_steps(after)
    return [
        ("recipes", before.recipes, after.recipes),
        ("references", before.references, after.references),
        ("tarballs", before.tarballs, after.tarballs),
        *((f"base {name}", before.bases.get(name, {}), after.bases.get(name, {})) for name in names),
        *((title, old.get(title, {}), now.get(title, {})) for title in sorted(old.keys() | now.keys())),
    ]


def _list_steps(lock: Lockfile) -> dict[str, Versions]:
    return {f"image {image}: {step}": found for image, steps in lock.images.items() for step, found in steps.items()}


def find_last_applied(spec: Spec, observed: Observed, names: tuple[str, ...] | None) -> LastApplied:
    """Return the record after a successful run; with `names`, only these and their needs are updated."""
    chosen = order.select_containers(spec, names)
    before = observed.last if names is not None else _select_untouched(spec, observed.last)
    specs = {name: container for name, container in spec.containers.items() if name in chosen}
    images = order.list_lineage((container.image for container in specs.values()), spec.images)
    return LastApplied(
        images=before.images | {name: key_image(name, spec.images) for name in images},
        specs=before.specs | {name: fingerprint_variables(container) for name, container in specs.items()},
        setup_files=before.setup_files | {name: found for name, found in observed.setup_files.items() if name in specs},
    )


def _select_untouched(spec: Spec, last: LastApplied) -> LastApplied:
    """Return the recorded entries that a full `up` does not touch: on-demand containers and built images."""
    specs = {name: container for name, container in last.specs.items() if name in spec.on_use}
    images = order.list_lineage((spec.containers[name].image for name in specs), spec.images)
    kept = {*images, *filter(is_built, last.images)}
    return LastApplied(images={name: image for name, image in last.images.items() if name in kept}, specs=specs)
