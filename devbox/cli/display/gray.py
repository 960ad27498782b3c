"""A gray release as text: a line for each change, and a few lines of where it stands. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from devbox.errors import one_line
from devbox.gray.glance import losses, rows
from devbox.routing.cohort import LEASE

if TYPE_CHECKING:
    from devbox.gray.glance import Against, Glance, SideSeen, Told

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
_BAR = 16
_MILLI, _SECOND = 1_000, 1_000_000  # in µs
ENDS = ("hold", "stable", "aborted")  # phases in which nobody watches
_FORWARD = ("warm", "step", "hold", "bake", "stable")


class Line(NamedTuple):
    """A line and its colour, "" for none."""

    text: str
    color: str = ""


def changed(glance: Glance) -> Line:
    """What it came to: `gray: step 2 of 4: 5 % of visitors on the new release — 812 requests, at most 0.8 points …`."""
    mark, color = ("✓", "green") if glance.phase in _FORWARD else ("✗", "red")
    if glance.phase in ("needs_human", "rehearsing"):
        mark, color = "!", "yellow"
    why = "" if glance.phase == "aborted" else f" — {one_line(glance.reason)}"  # told when it began to go back
    return Line(f"{mark} {glance.stage}: {place(glance)}{why}", color)


def lines(glance: Glance, *, unicode: bool, controlled: bool = True, now: float | None = None) -> list[Line]:
    """Return the state of a gray release, for the bottom of a terminal.

    `controlled`: its controller runs. `now`: the time, in seconds since the epoch, if the last look may be old.
    """
    color = {"needs_human": "yellow", "aborting": "red", "aborted": "red", "stable": "green"}.get(glance.phase, "")
    found = [
        Line(""),
        Line(f"  {_track(glance, unicode=unicode)}", "bold"),
        Line(f"  {place(glance)}", color),
        Line(f"  {_next(glance, controlled=controlled)}", color),
        Line(""),
        Line(_row("", "requests", "failed", "99 % within"), "dim"),
        *(Line(_row(name, *_side(side))) for name, side in rows(glance)),
        Line(""),
        Line("  is the new one worse?       evidence, abort at 100 %   worse by at most", "dim"),
        *(_judged(each, glance, unicode=unicode) for each in glance.against),
        *(_outside(each) for each in glance.outside if each.good is not None or glance.phase not in ENDS),
        Line(""),
        Line(f"  lost requests: {losses(glance)}", "red" if glance.lost or glance.lost_unknown else "dim"),
    ]
    if now is not None and (fallen := _fallen_back(glance, now)):
        found.append(Line(f"  {fallen}", "yellow"))
    if not controlled and glance.phase not in ENDS:
        text = f"  nobody controls it: devbox promote {glance.stage} goes on, devbox release abort takes it back"
        return [*found, Line(text, "yellow")]
    return [*found, Line(f"  {hint}", "dim")] if (hint := _hint(glance)) else found


def _fallen_back(glance: Glance, now: float) -> str:
    """Say that the router returned to the safe share by itself when the lease ended; "" if it did not."""
    since = now - (now if glance.looked_at is None else glance.looked_at)
    if since <= LEASE or glance.safe >= glance.share:
        return ""
    return f"no controller has looked for {since:.0f} s: the router returned to {_percent(glance.safe)} by itself"


def _next(glance: Glance, *, controlled: bool) -> str:
    """What comes next, and what it waits for."""
    if glance.held and glance.phase in ("warm", "step", "hold", "bake"):
        watched = ", and is watched meanwhile" if controlled else ""
        return f"held: it goes on after devbox release resume{watched}"
    reason = one_line(glance.reason)
    if glance.phase == "step" and reason.startswith("waits "):
        later = glance.steps[glance.step :]
        goal = f"next {_percent(later[0])}" if later else "then all steps are passed"
        return f"{goal}: {reason}"
    if glance.phase == "hold" and (not reason.startswith("waits ") or reason.startswith("waits for the promotion")):
        return f"next all visitors: devbox promote {glance.home}"
    return reason


def _hint(glance: Glance) -> str:
    """What a person can do."""
    if glance.phase == "needs_human":
        return "devbox release resume lets it go on, devbox release abort takes it back"
    if glance.phase in ("warm", "step", "rehearsing", "bake"):
        other = "resume" if glance.held else "hold"
        return f"from any terminal: devbox release {other} · abort · report"
    return "or take it back: devbox release abort" if glance.phase == "hold" else ""


def _judged(each: Against, glance: Glance, *, unicode: bool) -> Line:
    share = each.of_enough
    alarming = "red" if share >= 1 else "yellow" if share > 0.5 else ""  # noqa: PLR2004 - half
    harm = "not known yet" if each.harm >= 1 else f"{_points(each.harm)} points"
    enough = ", good enough" if each.harm <= glance.margin else f", {_points(glance.margin)} to go on"
    bar = _bar(share, unicode=unicode)
    return Line(f"    {each.metric:<10}{bar}  {_evidence(share)}           {harm}{enough}", alarming)


def _evidence(share: float) -> str:
    """The share of the evidence that aborts a gray release; more than all of it says nothing more."""
    return f"{min(share, 1.0):5.0%}"


def _outside(each: Told) -> Line:
    word = {True: "good", False: "bad", None: "no answer"}[each.good]
    said = f": {one_line(each.said)}" if each.said else " yet" if each.good is None else ""
    return Line(f"    {each.metric:<10}{word}{said}", {True: "", False: "red", None: "yellow"}[each.good])


def _points(share: float) -> str:
    return f"{100 * share:.2g}"


def _row(name: str, requests: str, failed: str, time: str) -> str:
    return f"    {name:<21}{requests:>10}{failed:>15}{time:>14}"


def place(glance: Glance) -> str:
    """Where it stands, in a few words."""
    share = f"{_percent(glance.share)} of visitors on the new release"
    if glance.phase == "step":
        return f"step {glance.step} of {len(glance.steps)}: {share}"
    return _PLACES.get(glance.phase, "").format(share=share)


def _track(glance: Glance, *, unicode: bool) -> str:
    """`1 % ● 5 % ◉ 25 % ○ 50 % ○ 100 %`: passed, here, to come."""
    passed, here, coming = ("●", "◉", "○") if unicode else ("*", ">", ".")
    goals = (*glance.steps, 100.0)
    at = len(glance.steps) if glance.phase in ("bake", "stable") else glance.step - 1
    at = -1 if glance.phase in ("aborting", "aborted") else at
    signs = [passed if number < at else here if number == at else coming for number in range(len(goals))]
    return "   ".join(f"{sign} {_percent(goal)}" for sign, goal in zip(signs, goals, strict=True))


def _side(side: SideSeen) -> tuple[str, str, str]:
    failed = f"{side.errors} = {side.rate:.2%}" if side.errors else "0"
    return str(side.requests), failed, _time(side.p99)


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
