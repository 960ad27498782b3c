"""A gray release as one HTML page: what came of it, the curves, and every step with its reason. Pure."""

from __future__ import annotations

import datetime as dt
from html import escape

from devbox.gray.picture import svg
from devbox.gray.policy import WHOLE
from devbox.gray.trial import Change, Trial

_ENDS = {
    "stable": ("The new release is stable", "#2f9e44"),
    "hold": ("All steps are passed; it waits for the promotion that completes it", "#2f9e44"),
    "aborted": ("The new release was taken back", "#c92a2a"),
    "aborting": ("The new release is being taken back", "#c92a2a"),
    "needs_human": ("A person is needed", "#e67700"),
}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #212529; background: #fff; max-width: 960px; margin: 2rem auto;
  padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h1 span { font-weight: 600 }
.reason { font-size: 1.1rem; margin: .3rem 0 1.2rem }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
th { text-align: left; color: #868e96; font-weight: 500 }
td, th { padding: .3rem .7rem .3rem 0; border-bottom: 1px solid #dee2e6; vertical-align: top }
td.n { text-align: right; white-space: nowrap } th.n { text-align: right }
svg { max-width: 100%; height: auto } code { font-size: .9em }
footer { color: #868e96; font-size: .9rem; margin-top: 2rem }
"""


def html(trial: Trial) -> str:
    """The page; it needs nothing beside itself."""
    title, color = _ENDS.get(trial.rollout.phase, ("The new release is on its way", "#1c7ed6"))
    rows = "\n".join(_row(change, trial) for change in trial.changes)
    policy = trial.policy
    watched = ", ".join(watch.name for watch in policy.watches)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(trial.stage)}: {escape(title)}</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>
<h1 style="color:{color}"><span>{escape(title)}</span></h1>
<p class="reason">{escape(trial.rollout.reason)}</p>
<table>
<tr><th></th><th class="n">requests</th><th class="n">failed</th><th class="n">rate</th></tr>
{_side("new release (canary)", trial.canary.requests, trial.canary.errors)}
{_side("old release (stable)", trial.stable.requests, trial.stable.errors)}
</table>
<p>Requests that nobody answered: <b>{trial.lost}</b></p>
{svg(trial)}
<table>
<tr><th>time</th><th>came to</th><th class="n">visitors</th><th>why</th>
<th class="n">canary</th><th class="n">stable</th></tr>
{rows}
</table>
<footer>Release <code>{escape(trial.release)}</code>, image <code>{escape(trial.deployment.release.image)}</code><br>
began {_moment(trial.began)}; watched: {escape(watched)}; steps {_steps(policy.steps)}; each at least
{policy.min_time:g} s and {policy.min_requests} requests, and at most {100 * policy.margin:g} points worse than stable.
Evidence is an e-value in nats: it may be looked at any time; an equal release reaches the red line once in
{1 / min(watch.alpha for watch in policy.watches):.0f} times at most.</footer>
</body></html>
"""


def _side(name: str, requests: int, errors: int) -> str:
    rate = f"{errors / requests:.3%}" if requests else "–"
    return f'<tr><td>{name}</td><td class="n">{requests}</td><td class="n">{errors}</td><td class="n">{rate}</td></tr>'


def _row(change: Change, trial: Trial) -> str:
    share = f"{100 * change.threshold / WHOLE:g} %"
    name = f"step {change.step + 1}" if change.phase == "step" else change.phase.replace("_", " ")
    return (
        f"<tr><td>{_after(change.at - trial.began)}</td><td>{name}</td><td class='n'>{share}</td>"
        f"<td>{escape(change.reason)}</td><td class='n'>{change.canary[1]} / {change.canary[0]}</td>"
        f"<td class='n'>{change.stable[1]} / {change.stable[0]}</td></tr>"
    )


def _after(seconds: float) -> str:
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    return f"{minutes}:{rest:02d}"


def _moment(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _steps(steps: tuple[int, ...]) -> str:
    return " → ".join(f"{100 * step / WHOLE:g} %" for step in (*steps, WHOLE))
