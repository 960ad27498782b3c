"""Text output of a gray release: a line per change, and a summary of the state. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from devbox.deploy.haproxy.cohort import LEASE
from devbox.errors import to_one_line
from devbox.gray.state import WaitKind, classify_reason
from devbox.gray.summary import describe_losses, list_sides

if TYPE_CHECKING:
    from devbox.gray.summary import ExternalMetricStatus, GraySummary, MetricEvidence, SideSummary

_PLACES = {
    "warm": "warm: the new release is up, without clients yet",
    "rehearsing": "rehearsal: the new release has no clients for a moment",
    "hold": "all steps passed, {share}",
    "bake": "bake: all clients, the old release stays warm",
    "stable": "done: the new release is stable",
    "aborting": "rolling back: the new release has no clients any more",
    "aborted": "rolled back: all clients are on the old release",
    "needs_human": "decision required, {share}",
}
_BAR = 16
_MILLI, _SECOND = 1_000, 1_000_000  # in µs
ENDS = ("hold", "stable", "aborted")  # phases that need no observation
_FORWARD = ("warm", "step", "hold", "bake", "stable")


class ColoredLine(NamedTuple):
    """A line and its color, "" for none."""

    text: str
    color: str = ""


def format_change(summary: GraySummary) -> ColoredLine:
    """Format a change: `gray: step 2 of 4: 5 % of clients on the new release — 812 requests, at most 0.8 points …`."""
    mark, color = ("✓", "green") if summary.phase in _FORWARD else ("✗", "red")
    if summary.phase in ("needs_human", "rehearsing"):
        mark, color = "!", "yellow"
    # The reason of a rollback was reported when it started.
    why = "" if summary.phase == "aborted" else f" — {to_one_line(summary.reason)}"
    return ColoredLine(f"{mark} {summary.stage}: {format_position(summary)}{why}", color)


def format_lines(
    summary: GraySummary, *, unicode: bool, controlled: bool = True, now: float | None = None
) -> list[ColoredLine]:
    """Return the state of a gray release, for the bottom of a terminal.

    `controlled`: a controller runs. `now`: current time in seconds since the epoch, if the last observation may be old.
    """
    color = {"needs_human": "yellow", "aborting": "red", "aborted": "red", "stable": "green"}.get(summary.phase, "")
    found = [
        ColoredLine(""),
        ColoredLine(f"  {_draw_track(summary, unicode=unicode)}", "bold"),
        ColoredLine(f"  {format_position(summary)}", color),
        ColoredLine(f"  {_format_next(summary, controlled=controlled)}", color),
        ColoredLine(""),
        ColoredLine(_format_row("", "requests", "failed", "99 % within"), "dim"),
        *(ColoredLine(_format_row(name, *_format_side(side))) for name, side in list_sides(summary)),
        ColoredLine(""),
        ColoredLine("  is the new one worse?       evidence, abort at 100 %   worse by at most", "dim"),
        *(_format_judgement(each, summary, unicode=unicode) for each in summary.against),
        *(
            _format_external_metric(each)
            for each in summary.outside
            if each.good is not None or summary.phase not in ENDS
        ),
        ColoredLine(""),
        ColoredLine(
            f"  lost requests: {describe_losses(summary)}", "red" if summary.lost or summary.lost_unknown else "dim"
        ),
    ]
    if now is not None and (fallen := _format_fallback(summary, now)):
        found.append(ColoredLine(f"  {fallen}", "yellow"))
    if not controlled and summary.phase not in ENDS:
        text = f"  no controller is running; resume: devbox promote {summary.stage}, or: devbox release abort"
        return [*found, ColoredLine(text, "yellow")]
    return [*found, ColoredLine(f"  {hint}", "dim")] if (hint := _format_hint(summary)) else found


def _format_fallback(summary: GraySummary, now: float) -> str:
    """Report that the router has returned to the safe share because the lease ended; "" if it has not."""
    since = now - (now if summary.looked_at is None else summary.looked_at)
    if since <= LEASE or summary.safe >= summary.share:
        return ""
    return f"no controller for {since:.0f} s: the router fell back to {_format_percent(summary.safe)}"


def _format_next(summary: GraySummary, *, controlled: bool) -> str:
    """Describe the next step and what it waits for."""
    if summary.held and summary.phase in ("warm", "step", "hold", "bake"):
        watched = "; still monitored" if controlled else ""
        return f"held; resume with: devbox release resume{watched}"
    reason, wait = to_one_line(summary.reason), classify_reason(summary.reason)
    if summary.phase == "step" and wait is WaitKind.CONDITION:
        later = summary.steps[summary.step :]
        goal = f"next {_format_percent(later[0])}" if later else "then all steps are passed"
        return f"{goal}: {reason}"
    if summary.phase == "hold" and wait is not WaitKind.CONDITION:
        return f"next all clients: devbox promote {summary.home}"
    return reason


def _format_hint(summary: GraySummary) -> str:
    """Suggest commands to the operator."""
    if summary.phase == "needs_human":
        return "resume: devbox release resume · roll back: devbox release abort"
    if summary.phase in ("warm", "step", "rehearsing", "bake"):
        other = "resume" if summary.held else "hold"
        return f"from any terminal: devbox release {other} · abort · status"
    return "or roll back: devbox release abort" if summary.phase == "hold" else ""


def _format_judgement(each: MetricEvidence, summary: GraySummary, *, unicode: bool) -> ColoredLine:
    share = each.of_enough
    alarming = "red" if share >= 1 else "yellow" if share > 0.5 else ""  # noqa: PLR2004 - half
    harm = "not known yet" if each.harm >= 1 else f"{_format_points(each.harm)} points"
    enough = ", good enough" if each.harm <= summary.margin else f", {_format_points(summary.margin)} allowed"
    bar = _draw_bar(share, unicode=unicode)
    return ColoredLine(f"    {each.metric:<10}{bar}  {_format_evidence(share)}           {harm}{enough}", alarming)


def _format_evidence(share: float) -> str:
    """Format the evidence as a share of the abort threshold, at most 100 %."""
    return f"{min(share, 1.0):5.0%}"


def _format_external_metric(each: ExternalMetricStatus) -> ColoredLine:
    word = {True: "good", False: "bad", None: "no answer"}[each.good]
    detail = f": {to_one_line(each.said)}" if each.said else " yet" if each.good is None else ""
    return ColoredLine(f"    {each.metric:<10}{word}{detail}", {True: "", False: "red", None: "yellow"}[each.good])


def _format_points(share: float) -> str:
    return f"{100 * share:.2g}"


def _format_row(name: str, requests: str, failed: str, time: str) -> str:
    return f"    {name:<21}{requests:>10}{failed:>15}{time:>14}"


def format_position(summary: GraySummary) -> str:
    """Describe the position briefly."""
    share = f"{_format_percent(summary.share)} of clients on the new release"
    if summary.phase == "step":
        return f"step {summary.step} of {len(summary.steps)}: {share}"
    return _PLACES.get(summary.phase, "").format(share=share)


def _draw_track(summary: GraySummary, *, unicode: bool) -> str:
    """Render the steps as `1 % ● 5 % ◉ 25 % ○ 50 % ○ 100 %`: passed, current, to come."""
    passed, here, coming = ("●", "◉", "○") if unicode else ("*", ">", ".")
    goals = (*summary.steps, 100.0)
    at = len(summary.steps) if summary.phase in ("bake", "stable") else summary.step - 1
    at = -1 if summary.phase in ("aborting", "aborted") else at
    signs = [passed if number < at else here if number == at else coming for number in range(len(goals))]
    return "   ".join(f"{sign} {_format_percent(goal)}" for sign, goal in zip(signs, goals, strict=True))


def _format_side(side: SideSummary) -> tuple[str, str, str]:
    failed = f"{side.errors} = {side.rate:.2%}" if side.errors else "0"
    return str(side.requests), failed, _format_time(side.p99)


def _format_time(micros: int | None) -> str:
    if micros is None:
        return "–"
    if micros < _MILLI:
        return f"{micros} µs"
    return f"{micros / _MILLI:g} ms" if micros < _SECOND else f"{micros / _SECOND:g} s"


def _draw_bar(share: float, *, unicode: bool) -> str:
    full, empty = ("━", "─") if unicode else ("#", ".")
    filled = round(min(share, 1.0) * _BAR)
    return full * filled + empty * (_BAR - filled)


def _format_percent(share: float) -> str:
    return f"{share:g} %"
