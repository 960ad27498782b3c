"""`devbox why image`: what became of an image since it was baked last, step by step. Pure."""

from __future__ import annotations

from itertools import zip_longest

from devbox.model.image import KeyedImage, KeyedStep
from devbox.model.verdict import Verdict
from devbox.plan import inputs

UNCHANGED, CHANGED, ADDED, REMOVED, FOLLOWS, MISSING = "unchanged", "changed", "added", "removed", "follows", "missing"


def why_image(image: KeyedImage, last: KeyedImage | None, digest: str | None) -> tuple[Verdict, ...]:
    """One verdict about each step that has to be made again, or one about the whole image.

    `last` is the image as this project baked it last; `digest` its index's in the store, as the file now wants it.
    """
    subject = f"image {image.name}"
    if last is None:
        there = f"baked for another project: {digest}" if digest else "not baked yet"
        return (Verdict(subject=subject, verdict=UNCHANGED if digest else MISSING, reason=there),)
    found = [
        verdict
        for before, after in zip_longest(last.chain, image.chain)
        if (verdict := _step(subject, before, after)) is not None
    ]
    if last.config != image.config:
        found.append(Verdict(subject=subject, verdict=CHANGED, reason="its environment, command or user changed"))
    if found:
        return tuple(found)
    if digest is None:
        return (Verdict(subject=subject, verdict=MISSING, reason="nothing changed, but the store lost it"),)
    return (Verdict(subject=subject, verdict=UNCHANGED, reason=f"nothing changed since it was baked: {digest}"),)


def _step(subject: str, before: KeyedStep | None, after: KeyedStep | None) -> Verdict | None:
    if after is None:
        return None if before is None else Verdict(subject=f"{subject}: {before.describe}", verdict=REMOVED, reason="")
    place = f"{subject}: {after.describe}"
    if before is None:
        return Verdict(subject=place, verdict=ADDED, reason="a new step")
    if before.key == after.key:
        return None
    if before.step == after.step:
        return Verdict(subject=place, verdict=FOLLOWS, reason="the same step, on what changed below it")
    return Verdict(subject=place, verdict=CHANGED, reason=inputs.changed(before.step, after.step))
