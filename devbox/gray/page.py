"""HTML page of a gray release: result, curves, and every step with its reason. Pure."""

from __future__ import annotations

import datetime as dt
from html import escape

from devbox.gray.chart import render_svg
from devbox.gray.policy import WHOLE
from devbox.gray.release import Change, GrayRelease
from devbox.gray.summary import GraySummary, describe_losses, list_sides, summarize

# Phase → title, color, and explanation or next action.
_ENDS = {
    "stable": ("The new release is stable", "good", "All clients use it; the old release is stopped."),
    "hold": ("All steps are passed", "good", "Complete it with: devbox promote {home}"),
    "bake": ("All clients use the new release", "good", "The old one stays warm for an immediate rollback."),
    "aborted": ("The new release was rolled back", "bad", "All clients use the old one; the new one is stopped."),
    "aborting": ("The new release is being rolled back", "bad", "New requests go to the old one."),
    "needs_human": (
        "An operator must decide",
        "warn",
        "Resume it: devbox release resume; roll it back: devbox release abort.",
    ),
}
_UNDER_WAY = ("The gray release is in progress", "calm", "It continues as long as the new release is not worse.")
_BASELINE = '<th class="n">baseline: failed</th>'
_STYLE = """
:root { color-scheme: light dark; --ink: #212529; --paper: #fff; --dim: #6c757d; --line: #dee2e6;
  --good: #2b8a3e; --bad: #c92a2a; --warn: #b35c00; --calm: #1864ab }
@media (prefers-color-scheme: dark) { :root { --ink: #e9ecef; --paper: #16191d; --dim: #adb5bd; --line: #343a40;
  --good: #69db7c; --bad: #ff8787; --warn: #ffc078; --calm: #74c0fc } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 960px;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.05rem; margin: 2rem 0 .3rem }
.good { color: var(--good) } .bad { color: var(--bad) } .warn { color: var(--warn) } .calm { color: var(--calm) }
.reason { font-size: 1.1rem; margin: .3rem 0 0 } .next { margin: .2rem 0 1.2rem; color: var(--dim) }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; margin: .3rem 0 1rem }
th { text-align: left; color: var(--dim); font-weight: 500 }
td, th { padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
td { white-space: nowrap } td.n, th.n { text-align: right }
td.w { min-width: 14rem; white-space: normal }
svg { width: 100%; min-width: 640px; height: auto } code { font-size: .9em; overflow-wrap: anywhere }
footer { color: var(--dim); font-size: .9rem; margin-top: 2rem }
"""


def render_html(gray_release: GrayRelease) -> str:
    """Return the page, self-contained."""
    home, seen = gray_release.deployment.stage.name, summarize(gray_release)
    title, color, then = _ENDS.get(gray_release.rollout.phase, _UNDER_WAY)
    rows = "\n".join(_render_row(change, gray_release) for change in gray_release.changes)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(home)}: {escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>
<h1 class="{color}">{escape(title)}</h1>
<p class="reason">{escape(gray_release.rollout.reason)}</p>
<p class="next">{escape(then.format(home=home))} Lost requests: {escape(describe_losses(seen))}.</p>
<div class="wide"><table>
<tr><th>in {escape(home)}</th><th class="n">requests</th><th class="n">failed</th><th class="n">of them</th></tr>
{_render_sides(seen)}
</table></div>
{_render_external(gray_release)}<div class="wide">{render_svg(gray_release)}</div>
<h2>Step by step</h2>
<div class="wide"><table>
<tr><th>after</th><th>phase</th><th class="n">clients</th><th>why</th>
<th class="n">new: failed</th>{_BASELINE if gray_release.policy.has_baseline else ""}<th class="n">old: failed</th></tr>
{rows}
</table></div>
{_render_footer(gray_release)}
</body></html>
"""


def _render_external(gray_release: GrayRelease) -> str:
    """Render the last readings of external metrics, if any."""
    words = {True: ("good", "good"), False: ("bad", "bad"), None: ("warn", "no answer")}
    rows = [
        f'<tr><td>{escape(each.metric)}</td><td class="{words[each.good][0]}">{words[each.good][1]}</td>'
        f"<td>{escape(each.said)}</td></tr>"
        for each in summarize(gray_release).outside
        if each.good is not None or each.said
    ]
    head = "<tr><th>external metric</th><th></th><th></th></tr>"
    return f'<div class="wide"><table>{head}{"".join(rows)}</table></div>\n' if rows else ""


def _render_footer(gray_release: GrayRelease) -> str:
    policy = gray_release.policy
    names = (*(each.name for each in policy.watches), *(each.name for each in policy.outside))
    watched = ", ".join(names)
    fresh = (
        "Compared with a baseline: as many new replicas of the old release, started with it."
        if policy.has_baseline
        else ""
    )
    return f"""<footer>Release <code>{escape(gray_release.release)}</code><br>
image <code>{escape(gray_release.deployment.release.image)}</code><br>
Started {_format_moment(gray_release.began)}. Watched: {escape(watched)}. Steps: {_format_steps(policy.steps)},
each at least {policy.min_time:g} s and {policy.min_requests} requests of the new release,
which may be {100 * policy.margin:g} points worse than the old one at most.
At 100 % of the evidence it is rolled back, at any time: this happens to a release that
is as good as the old one once in {1 / sum(watch.alpha for watch in policy.watches):.0f} times, at most.
{fresh}</footer>"""


def _render_sides(seen: GraySummary) -> str:
    """Render one row per side."""
    return "\n".join(
        f'<tr><td>{name}</td><td class="n">{side.requests}</td><td class="n">{side.errors}</td>'
        f'<td class="n">{f"{side.rate:.2%}" if side.requests else "–"}</td></tr>'
        for name, side in list_sides(seen)
    )


def _render_row(change: Change, gray_release: GrayRelease) -> str:
    share, other = f"{100 * change.threshold / WHOLE:g} %", change.baseline or (0, 0)
    baseline = f"<td class='n'>{other[1]} of {other[0]}</td>" if gray_release.policy.has_baseline else ""
    name = f"step {change.step + 1}" if change.phase == "step" else change.phase.replace("_", " ")
    return (
        f"<tr><td>{_format_elapsed(change.at - gray_release.began)}</td><td>{name}</td><td class='n'>{share}</td>"
        f"<td class='w'>{escape(change.reason)}</td><td class='n'>{change.canary[1]} of {change.canary[0]}</td>"
        f"{baseline}<td class='n'>{change.stable[1]} of {change.stable[0]}</td></tr>"
    )


def _format_elapsed(seconds: float) -> str:
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    return f"{minutes}:{rest:02d}"


def _format_moment(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _format_steps(steps: tuple[int, ...]) -> str:
    return " → ".join(f"{100 * step / WHOLE:g} %" for step in (*steps, WHOLE))
