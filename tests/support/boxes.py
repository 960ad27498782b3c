"""The boxes of a test run: created once per kind on first use, cleared after every test."""

from __future__ import annotations

from collections.abc import Iterator

from support.machine import Box, make_box, with_runtime

KINDS = ("root-crun", "root-runc", "user-crun", "user-runc")


def use(boxes: dict[str, Box], kind: str) -> Iterator[Box]:
    """A box of a kind, for one test. Those of one user share a home, so that images are baked once."""
    if kind not in boxes:
        who = kind.partition("-")[0]
        known = next((box for name, box in boxes.items() if name.startswith(f"{who}-")), None)
        boxes[kind] = with_runtime(known, kind) if known else make_box(kind)
    box = boxes[kind]
    before = box.footprint()
    yield box
    box.clear()
    assert not box.leftovers(before), "the test left something on the machine"
