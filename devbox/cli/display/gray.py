"""A gray release as text: a line for each change, and a few lines of where it stands. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from devbox.errors import one_line

if TYPE_CHECKING:
    from devbox.gray.glance import Glance, SideSeen

_PLACES = {
    "warm": "warm: the new release is up, nobody is sent there yet",
    "rehearsing": "rehearsal: nobody is sent there for a moment",
    "hold": "all steps passed, {share}",
    "bake": "bake: all visitors, the old release stays warm",
    "stable": "done: the new release is stable",
    "aborting": "going back: nobody is sent there any more",
    "aborted": "taken back: all visitors are on the old release",
    "needs_human": "a person is needed, {share}",
}
_BAR = 20
_MILLI, _SECOND = 1_000, 1_000_000  # in µs
ENDS = ("hold", "stable", "aborted")  # phases in which nobody watches
_FORWARD = ("warm", "step", "hold", "bake", "stable")


class Line(NamedTuple):
    """A line and its colour, "" for none."""

    text: str
    color: str = ""


def changed(glance: Glance) -> Line:
    """What it came to: `gray: step 2 of 4, 5 % of visitors — 812 requests, at most 0.84 % worse than stable`."""
    mark, color = ("✓", "green") if glance.phase in _FORWARD else ("✗", "red")
    if glance.phase in ("needs_human", "rehearsing"):
        mark, color = "!", "yellow"
    return Line(f"{mark} {glance.stage}: {_place(glance)} — {one_line(glance.reason)}", color)


def lines(glance: Glance, *, unicode: bool) -> list[Line]:
    """Where it stands, for the bottom of a terminal."""
    held = glance.held and glance.phase in ("warm", "step", "hold", "bake")
    waits = "held: devbox release resume goes on" if held else one_line(glance.reason)
    color = {"needs_human": "yellow", "aborting": "red"}.get(glance.phase, "")
    found = [
        Line(f"  {_track(glance, unicode=unicode)}", "bold"),
        Line(f"  {_place(glance)} · {waits}", color),
        Line("", ""),
        Line("             requests          errors   99 % within", "dim"),
        Line(f"    canary   {_side(glance.canary)}"),
        Line(f"    stable   {_side(glance.stable)}"),
        Line("", ""),
    ]
    for each in glance.against:
        bar = _bar(each.of_enough, unicode=unicode)
        alarming = "red" if each.of_enough >= 1 else "yellow" if each.of_enough > 0.5 else ""  # noqa: PLR2004 - half
        worse = f" · at most {100 * each.harm:.2g} points worse" if each.harm < 1 else ""
        text = f"    {each.metric:<9}{bar}  {min(each.of_enough, 9.99):4.0%} of what takes it back{worse}"
        found.append(Line(text, alarming))
    found.append(Line(f"    lost requests: {glance.lost}", "red" if glance.lost else "dim"))
    return found


def _place(glance: Glance) -> str:
    share = f"{_percent(glance.share)} of visitors"
    if glance.phase == "step":
        return f"step {glance.step} of {len(glance.steps)}, {share}"
    return _PLACES.get(glance.phase, "").format(share=share)


def _track(glance: Glance, *, unicode: bool) -> str:
    """`1 % ● 5 % ◉ 25 % ○ 50 % ○ 100 %`: passed, here, to come."""
    passed, here, coming = ("●", "◉", "○") if unicode else ("*", ">", ".")
    goals = (*glance.steps, 100.0)
    at = len(glance.steps) if glance.phase in ("bake", "stable") else glance.step - 1
    signs = [passed if number < at else here if number == at else coming for number in range(len(goals))]
    return "   ".join(f"{sign} {_percent(goal)}" for sign, goal in zip(signs, goals, strict=True))


def _side(side: SideSeen) -> str:
    errors = f"{side.errors} = {side.rate:.2%}" if side.errors else "0"
    return f"{side.requests:>8}  {errors:>14}  {_time(side.p99):>10}"


def _time(micros: int | None) -> str:
    if micros is None:
        return "–"
    if micros < _MILLI:
        return f"{micros} µs"
    return f"{micros / _MILLI:g} ms" if micros < _SECOND else f"{micros / _SECOND:g} s"


def _bar(share: float, *, unicode: bool) -> str:
    full, empty = ("━", "─") if unicode else ("#", ".")
    filled = round(min(share, 1.0) * _BAR)
    return full * filled + empty * (_BAR - filled)


def _percent(share: float) -> str:
    return f"{share:g} %"
