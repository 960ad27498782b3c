"""The lock and the images of a file: what it fixes, what it lacks, what a change of it means. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from devbox.errors import UsageError
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
    is_open,
    pinned,
)
from devbox.model.lock import Lock, Versions
from devbox.plan import variants


def step_names(steps: Sequence[BakeStep]) -> tuple[str, ...]:
    """How the lock calls the steps of an image: by what they do, those that do the same numbered."""
    names: list[str] = []
    for step in steps:
        name = describe(step)
        same = sum(other == name or other.startswith(f"{name} #") for other in names)
        names.append(f"{name} #{same + 1}" if same else name)
    return tuple(names)


def is_built(image: str) -> bool:
    """Whether `devbox build`, `install` or `test` makes an image, not `devbox up`."""
    return variants.label_of(image).partition(".")[0] in ("build", "image", "install", "test")


def unlocked(images: Mapping[str, ImageSpec]) -> dict[str, ImageSpec]:
    """The images as the file alone wants them."""
    return {name: dataclasses.replace(spec, steps=tuple(map(_open, spec.steps))) for name, spec in images.items()}


def _open(step: BakeStep) -> BakeStep:
    match step:
        case Bootstrap() | Packages() | FromDockerfile():
            return dataclasses.replace(step, pins=None, prefer={})
        case FromRegistry() | Run():
            return dataclasses.replace(step, pins=None)
        case Files() | FromTarball() | Copy():
            return step


def locked(
    images: Mapping[str, ImageSpec], lock: Lock, *, names: Mapping[str, str] | None = None
) -> dict[str, ImageSpec]:
    """The images, their steps fixed to what the lock says. `names`: what that calls them, where it is not their name.

    Where packages were added to a list, the lock has the step as it was: those versions are preferred.
    """
    called = names or {}
    return {name: _locked(spec, lock, called.get(name, name)) for name, spec in images.items()}


def _locked(spec: ImageSpec, lock: Lock, called: str) -> ImageSpec:
    entries = lock.images.get(called, {})
    names = step_names(spec.steps)
    old = {name: version for step, found in entries.items() if step not in names for name, version in found.items()}
    steps: list[BakeStep] = []
    for name, step in zip(names, spec.steps, strict=True):
        if isinstance(step, FromTarball):
            steps.append(dataclasses.replace(step, content=lock.tarballs.get(step.path, "")))
        elif (found := _entry(step, name, lock, entries)) is not None:
            steps.append(pinned(step, found))
        else:
            steps.append(dataclasses.replace(step, prefer=old) if isinstance(step, Packages) else step)
    return dataclasses.replace(spec, steps=tuple(steps))


def _entry(step: BakeStep, name: str, lock: Lock, entries: Mapping[str, Versions]) -> Versions | None:
    """What the lock says of a step; None where it says nothing."""
    if isinstance(step, FromRegistry):
        digest = lock.references.get(step.reference)
        return {step.reference: digest} if digest else None
    return lock.bases.get(name) if isinstance(step, Bootstrap) else entries.get(name)


def opened(
    images: Mapping[str, ImageSpec], names: Iterable[str] | None
) -> tuple[dict[str, ImageSpec], tuple[str, ...]]:
    """The images without the lock's versions of what `names` call (else of all), and the images that differ then."""
    if names is None:
        return unlocked(images), tuple(images)
    there = known(images)
    for name in names:
        if name not in there:
            raise UsageError(
                f"the lock has no {name}: no image, recipe, base system or package is called so",
                remedy="devbox.lock.toml has the names; devbox lock renews all",
            )
    loose = loosened(images, names)
    return loose, tuple(name for name, spec in loose.items() if spec != images[name])


def loosened(images: Mapping[str, ImageSpec], names: Iterable[str]) -> dict[str, ImageSpec]:
    """The images without the lock's versions for `names`: images, recipes, base systems or packages.

    Of a step that holds a named package, the other versions stay preferred; packages of the same version as the
    named one are most likely made from the same source, and go with it.
    """
    wanted = frozenset(names)
    return {
        name: dataclasses.replace(spec, steps=tuple(_loosened(spec, step, wanted) for step in spec.steps))
        for name, spec in images.items()
    }


def _loosened(spec: ImageSpec, step: BakeStep, wanted: frozenset[str]) -> BakeStep:
    held = _held(step)
    if held is None or isinstance(step, Files | FromTarball | Copy):
        return step
    whole = describe(step) in wanted or (not isinstance(step, Bootstrap) and _calls(spec, wanted))
    going = {held[name] for name in wanted if name in held}
    if not (whole or going):
        return step
    if isinstance(step, FromRegistry | Run):
        return dataclasses.replace(step, pins=None)
    prefer = {} if whole else {name: version for name, version in held.items() if version not in going}
    return dataclasses.replace(step, pins=None, prefer=prefer)


def _held(step: BakeStep) -> Versions | None:
    """The versions that an upgrade sets a step free of; None where nothing fixes any."""
    match step:
        case Files() | FromTarball() | Copy():
            return None
        case FromDockerfile(pins=None):
            return step.prefer or None
        case _:
            return step.pins


def _calls(spec: ImageSpec, names: frozenset[str]) -> bool:
    return bool({*_called(spec.name), spec.recipe} & names)


def _called(image: str) -> tuple[str, ...]:
    """How an image may be called: by its whole name or without its role; a variant also as what it is one of."""
    ways = (name for whole in (image, variants.label_of(image)) for name in (whole, whole.partition(".")[2]))
    return tuple(filter(None, dict.fromkeys(ways)))


def known(images: Mapping[str, ImageSpec]) -> dict[str, str]:
    """Everything that can be upgraded by name, and what it is."""
    found: dict[str, str] = {}
    for spec in images.values():
        for step in spec.steps:
            found |= dict.fromkeys(_held(step) or {}, "a package")
    for spec in images.values():
        found |= {describe(step): "a base system" for step in spec.steps if isinstance(step, Bootstrap)}
        found |= {spec.recipe: "a recipe"} if spec.recipe else {}
        found |= dict.fromkeys(_called(spec.name), "an image")
    return found


def collected(images: Mapping[str, ImageSpec], recipes: Mapping[str, str], before: Lock) -> Lock:
    """The lock of the images: entries for all steps that are fixed; what is not yet keeps the entry it had."""
    used = {spec.recipe for spec in images.values() if spec.recipe}
    bases: dict[str, Versions] = {}
    references: dict[str, str] = {}
    tarballs: dict[str, str] = {}
    entries: dict[str, dict[str, Versions]] = {}
    for name, spec in images.items():
        own = {} if _is_fixed(spec) else dict(before.images.get(name, {}))
        for step_name, step in zip(step_names(spec.steps), spec.steps, strict=True):
            if isinstance(step, Files | Copy):
                continue
            if isinstance(step, FromTarball):
                tarballs[step.path] = step.content or before.tarballs.get(step.path, "")
            elif isinstance(step, FromRegistry):
                references |= step.pins or _entry(step, step_name, before, {}) or {}
            elif isinstance(step, Bootstrap):
                found = before.bases.get(step_name) if step.pins is None else step.pins
                bases |= {} if found is None else {step_name: found}
            elif step.pins is not None:
                own[step_name] = step.pins
        entries |= {name: own} if own else {}
    return Lock(
        recipes={name: digest for name, digest in recipes.items() if name in used},
        references=references,
        tarballs={path: digest for path, digest in tarballs.items() if digest},
        bases=bases,
        images=entries,
    )


def beside_cells(before: Lock, after: Lock) -> Lock:
    """The lock of a file with a matrix, where `after` is that of some images: what other cells need keeps its entry."""
    others = {name: steps for name, steps in before.images.items() if variants.label_of(name) != name}
    return Lock(
        recipes={**before.recipes, **after.recipes},
        references={**before.references, **after.references},
        tarballs={**before.tarballs, **after.tarballs},
        bases={**before.bases, **after.bases},
        images={**others, **after.images},
    )


def _is_fixed(spec: ImageSpec) -> bool:
    """Whether every step that installs something says what."""
    return not any(is_open(step) for step in spec.steps if not _may_have_nothing(step))


def _may_have_nothing(step: BakeStep) -> bool:
    """Whether a step may never have had an entry: commands, and Dockerfiles that begin with no image of a registry."""
    return isinstance(step, Run) or (isinstance(step, FromDockerfile) and not step.begins)


def missing(images: Mapping[str, ImageSpec], recipes: Mapping[str, str], lock: Lock) -> list[str]:
    """What the lock lacks for these images, or says otherwise, a sentence each."""
    sentences = [
        f"the recipe {name} {'is another one now' if name in lock.recipes else 'has no entry'}"
        for name in dict.fromkeys(spec.recipe for spec in images.values() if spec.recipe)
        if lock.recipes.get(name) != recipes.get(name)
    ]
    for spec in images.values():
        for name, step in zip(step_names(spec.steps), spec.steps, strict=True):
            if isinstance(step, FromTarball):
                sentences += _another(step, lock)
            elif is_open(step) and not isinstance(step, Run | FromDockerfile):
                what = name if isinstance(step, Bootstrap) else f"{spec.name}: {name}"
                sentences.append(f"{what} has no entry")
    return list(dict.fromkeys([*sentences, *unknown_bases(images)]))


def unknown_bases(images: Mapping[str, ImageSpec]) -> list[str]:
    """What the lock lacks of the images that Dockerfiles begin with, which have been looked at, a sentence each."""
    return [
        f"{spec.name}: {name}: {base} has no entry"
        for spec in images.values()
        for name, step in zip(step_names(spec.steps), spec.steps, strict=True)
        if isinstance(step, FromDockerfile)
        for base in step.begins
        if base not in (step.pins or step.prefer)
    ]


def _another(step: FromTarball, lock: Lock) -> list[str]:
    """Whether the lock knows a tarball, and as the one it is; which may not have been looked at yet."""
    locked = lock.tarballs.get(step.path)
    if locked and step.content in ("", locked):
        return []
    return [f"the tarball {step.path} {'is another one now' if locked else 'has no entry'}"]


def additions(before: Lock, after: Lock) -> list[str]:
    """The entries that are new or say something else; of a step's, also those that say more than it installs."""
    steps = _steps(before).keys() & _steps(after).keys()
    return [
        title
        for title, old, now in _sections(before, after)
        if any(old.get(name) != version for name, version in now.items()) or (title in steps and old != now)
    ]


def changes(before: Lock, after: Lock) -> list[str]:
    """What is different, a line each: `+` new, `-` gone, `~` another version."""
    lines: list[str] = []
    for title, old, now in _sections(before, after):
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


def _sections(before: Lock, after: Lock) -> list[tuple[str, Versions, Versions]]:
    names = sorted(before.bases.keys() | after.bases.keys())
    old, now = _steps(before), _steps(after)
    return [
        ("recipes", before.recipes, after.recipes),
        ("references", before.references, after.references),
        ("tarballs", before.tarballs, after.tarballs),
        *((f"base {name}", before.bases.get(name, {}), after.bases.get(name, {})) for name in names),
        *((title, old.get(title, {}), now.get(title, {})) for title in sorted(old.keys() | now.keys())),
    ]


def _steps(lock: Lock) -> dict[str, Versions]:
    return {f"image {image}: {step}": found for image, steps in lock.images.items() for step, found in steps.items()}
