"""Plans of `devbox build` and `devbox install` before a release or an installation: images and `[build]`. Pure."""

from __future__ import annotations

from devbox.model.image import Copy, FromDockerfile, FromRegistry, FromTarball, ImageSpec, Packages
from devbox.model.observed import Observed
from devbox.model.plan import Op, Plan, Step, Verdict
from devbox.model.release import BuildInputs
from devbox.model.spec import Spec
from devbox.plan import diff, order
from devbox.plan.reasons import ADDED, CHANGED, MISSING, REMOVED, UNCHANGED

_SHOWN = 4
_TOOLCHAIN = "its toolchain changed"


def plan(spec: Spec, observed: Observed, *, images: tuple[str, ...], build: str) -> Plan:
    """Return the steps that build these images. `build`: reason to run `[build]` first; "" if its output is known."""
    names = order.list_lineage(images, spec.images)
    waiting = [name for name in names if _is_waiting(name, spec)]
    if not build or spec.build is None:
        return diff.diff(spec, observed, names=(), images=names)
    container = spec.build.container
    ready = tuple(name for name in names if name not in waiting)
    before = diff.diff(spec, observed, names=container.needs, images=(*ready, container.image), network=True)
    # Exclusive: no other step starts or stops containers of the instance at the same time.
    step = Step(op=Op.BUILD, resource=container.name, reason=build, after=tuple(each.id for each in before.steps))
    bakes = [
        Step(
            op=Op.BAKE,
            resource=name,
            reason=f"after {step.id}",
            after=(step.id, *_find_parent(name, waiting, spec)),
        )
        for name in waiting
    ]
    return Plan(steps=(*before.steps, step, *bakes))


def why_build(now: BuildInputs, last: BuildInputs | None) -> str:
    """Explain why `[build]` runs: the changes since its last run."""
    if last is None:
        return "not built yet"
    changed = _list_changes(now, last)
    if not changed:
        return _TOOLCHAIN if now.image != last.image else "its output is no longer in the store"
    more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
    return ", ".join(f"{subject} {reason}" for subject, _, reason in changed[:_SHOWN]) + more


def list_verdicts(now: BuildInputs, last: BuildInputs | None, *, built: bool) -> tuple[Verdict, ...]:
    """Return the verdicts of `devbox why build`: one per input that changed since the last build."""
    if last is None:
        reason = "the store has its output" if built else "not built yet"
        return (Verdict(subject="build", verdict=UNCHANGED if built else MISSING, reason=reason),)
    changed = _list_changes(now, last)
    if changed:
        return tuple(Verdict(subject=f"build: {subject}", verdict=kind, reason=why) for subject, kind, why in changed)
    if now.image != last.image:
        return (Verdict(subject="build", verdict=CHANGED, reason=_TOOLCHAIN),)
    reason = (
        "nothing changed since it was built" if built else "nothing changed, but its output is missing in the store"
    )
    return (Verdict(subject="build", verdict=UNCHANGED if built else MISSING, reason=reason),)


def _list_changes(now: BuildInputs, last: BuildInputs) -> list[tuple[str, str, str]]:
    """Return subject, verdict and reason of each difference, except for the toolchain."""
    found = [*_diff_tables(now.files, last.files), *_diff_tables(now.env, last.env)]
    rest = ("commands", "output", "network")
    return [*found, *((name, CHANGED, "changed") for name in rest if getattr(now, name) != getattr(last, name))]


def _diff_tables(now: dict[str, str], last: dict[str, str]) -> list[tuple[str, str, str]]:
    words = {
        (False, True): (ADDED, "is new"),
        (True, False): (REMOVED, "was removed"),
        (True, True): (CHANGED, "changed"),
    }
    names = sorted(name for name in now.keys() | last.keys() if now.get(name) != last.get(name))
    return [(name, *words[name in last, name in now]) for name in names]


def _is_waiting(name: str, spec: Spec) -> bool:
    """True if an image or one of its ancestors copies an output that is not known yet."""
    image = spec.images[name]
    if any(isinstance(step, Copy) and not step.output for step in image.steps):
        return True
    return image.parent is not None and _is_waiting(image.parent, spec)


def _find_parent(name: str, waiting: list[str], spec: Spec) -> tuple[str, ...]:
    parent = spec.images[name].parent
    return (f"bake {parent}",) if parent in waiting else ()


def describe_image(image: ImageSpec) -> str:
    """Describe an image, as `postgresql-17 17.12-0+deb13u1` or `docker.io/library/redis:8`; "" without a source."""
    words: list[str] = []
    for step in image.steps:
        match step:
            case Packages():
                words += [f"{name} {(step.pins or {}).get(name, '')}".rstrip() for name in step.names]
            case FromRegistry():
                words.append(step.reference)
            case FromDockerfile() | FromTarball():
                words.append(step.path)
            case _:
                pass
    return ", ".join(words)
