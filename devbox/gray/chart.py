"""SVG chart of a gray release: share, errors, response times and evidence over time. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from devbox.gray.policy import WHOLE, WatchedMetric
from devbox.gray.release import GrayRelease, Point
from devbox.model.frozen import dataclass

_WIDTH, _LEFT, _RIGHT = 920, 70, 20
_PANEL, _GAP, _TOP = 110, 46, 34
# Classes of drawn elements.
_CANARY, _STABLE, _BASELINE, _SHARE, _LIMIT = "canary", "stable", "baseline", "share", "limit"
# Color of each element in light and dark mode.
_COLORS = {
    "paper": ("#ffffff", "#16191d"),
    "ink": ("#343a40", "#e9ecef"),
    "dim": ("#6c757d", "#adb5bd"),
    "grid": ("#dee2e6", "#343a40"),
    "change": ("#adb5bd", "#5c636a"),
    _CANARY: ("#d9480f", "#ff922b"),
    _STABLE: ("#1c7ed6", "#4dabf7"),
    _BASELINE: ("#7048e8", "#b197fc"),
    _SHARE: ("#2f9e44", "#69db7c"),
    _LIMIT: ("#c92a2a", "#ff8787"),
}
_TICKS = 6
_BEYOND = 1.5  # multiple of the abort threshold at which a drawn part of the evidence is capped
_ENOUGH, _NEAR = 1000, 8  # requests per rate; points per median of response times
_ROUND = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400)


@dataclass(frozen=True, kw_only=True)
class _Curve:
    """Values over time, None for gaps. `steps`: a value holds until the next one."""

    name: str
    kind: str
    values: Sequence[float | None]
    steps: bool = False
    thin: bool = False


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """Curves with one scale. `line`: a reference value with its name. `legend`: curves to label."""

    title: str
    curves: tuple[_Curve, ...]
    shown: Callable[[float], str]
    line: tuple[float, str] | None = None
    least: float = 0.0  # minimum of the scale's upper end
    legend: tuple[_Curve, ...] = ()


def render_svg(gray_release: GrayRelease) -> str:
    """Return the picture, self-contained."""
    points = gray_release.points
    panels = _build_panels(gray_release) if points else []
    height = _TOP + len(panels) * (_PANEL + _GAP) + 20
    times = [point.at - gray_release.began for point in points]
    whole = max([1.0, *times])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"',
        ' role="img" font-family="system-ui, sans-serif" font-size="12">',
        f"<style>{_render_style()}</style>",
        f'<rect class="f-paper" width="{_WIDTH}" height="{height}"/>',
        *_render_legend(gray_release),
    ]
    for number, panel in enumerate(panels):
        parts += _render_panel(panel, times, whole, top=_TOP + number * (_PANEL + _GAP))
    bottom = _TOP + len(panels) * (_PANEL + _GAP) - _GAP
    parts += [*_render_changes(gray_release, whole, bottom), *_render_axis(whole, bottom), "</svg>"]
    return "\n".join(parts)


def _render_style() -> str:
    """Return the CSS classes `f-…` (fill) and `s-…` (stroke), for light and dark mode."""
    light, dark = (
        "".join(f".f-{name}{{fill:{pair[at]}}}.s-{name}{{stroke:{pair[at]}}}" for name, pair in _COLORS.items())
        for at in (0, 1)
    )
    return f"{light}@media (prefers-color-scheme:dark){{{dark}}}"


def _build_panels(gray_release: GrayRelease) -> list[_Panel]:
    points = gray_release.points
    found = [
        _Panel(
            title="clients on the new release",
            curves=(
                _Curve(
                    name="share", kind=_SHARE, values=[100 * point.threshold / WHOLE for point in points], steps=True
                ),
            ),
            shown=lambda value: f"{value:g} %",
            least=1.0,
        ),
        _Panel(
            title="failed requests",
            curves=_build_curves(points, _compute_rates),
            shown=lambda value: f"{value:.3g} %",
            least=0.5,
        ),
        _Panel(
            title="99 % of the requests within",
            curves=_build_curves(points, _compute_times),
            shown=_format_millis,
            least=1.0,
        ),
    ]
    return [*found, *(_build_evidence_panel(points, watch) for watch in gray_release.policy.watches)]


def _build_evidence_panel(points: Sequence[Point], watch: WatchedMetric) -> _Panel:
    """Return the panel of the evidence as a share of the abort threshold, with its parts."""
    enough = math.log(1 / watch.alpha)
    whole = [100 * max(0.0, point.evidence.get(watch.name, 0.0)) / enough for point in points]
    pairs = [point.parts.get(watch.name) for point in points]
    parts = tuple(
        _Curve(
            name=name,
            kind=kind,
            values=[
                100 * min(_BEYOND, pair[at]) if (pair := point.parts.get(watch.name)) else None for point in points
            ],
            thin=True,
        )
        for at, (name, kind) in enumerate((("clients, same seconds", _STABLE), ("incidents of replicas", _SHARE)))
        if any(pairs)
    )
    return _Panel(
        title=f"evidence that the new release is worse: {watch.name}",
        curves=(*parts, _Curve(name="evidence", kind=_CANARY, values=whole)),
        shown=lambda value: f"{value:g} %",
        line=(100, "rollback threshold"),
        least=100,
        legend=parts,
    )


def _build_curves(
    points: Sequence[Point], smooth: Callable[[Sequence[Point], str], list[float | None]]
) -> tuple[_Curve, ...]:
    return (
        _Curve(name="stable", kind=_STABLE, values=smooth(points, "stable")),
        *(
            (_Curve(name="baseline", kind=_BASELINE, values=smooth(points, "baseline")),)
            if any(point.baseline for point in points)
            else ()
        ),
        _Curve(name="canary", kind=_CANARY, values=smooth(points, "canary")),
    )


def _compute_rates(points: Sequence[Point], side: str) -> list[float | None]:
    """Return failure rates in percent over the last _ENOUGH requests: a rate of three is meaningless."""
    counts: list[tuple[int, int]] = [getattr(point, side) or (0, 0) for point in points]
    found: list[float | None] = []
    for at, (here, _) in enumerate(counts):
        requests = bad = 0
        for count, errors in reversed(counts[: at + 1]):
            requests, bad = requests + count, bad + errors
            if requests >= _ENOUGH:
                break
        found.append(100 * bad / requests if here else None)
    return found


def _compute_times(points: Sequence[Point], side: str) -> list[float | None]:
    """Return response times in milliseconds, as medians of a few points."""
    micros: list[int | None] = [getattr(point, f"{side}_p99") for point in points]
    found: list[float | None] = []
    for at, here in enumerate(micros):
        near = sorted(each for each in micros[max(0, at - _NEAR) : at + 1] if each is not None)
        found.append(near[len(near) // 2] / 1000 if here is not None else None)
    return found


def _format_millis(value: float) -> str:
    return f"{value:g} ms" if value < 1000 else f"{value / 1000:g} s"  # noqa: PLR2004 - ms per second


def _render_legend(gray_release: GrayRelease) -> list[str]:
    found, at = [], _LEFT
    names = {_CANARY: "new release (canary)", _STABLE: "old release (stable)"}
    for kind, name in (
        names | ({_BASELINE: "old, fresh (baseline)"} if gray_release.policy.has_baseline else {})
    ).items():
        found.append(f'<rect class="f-{kind}" x="{at}" y="8" width="14" height="4"/>')
        found.append(f'<text class="f-ink" x="{at + 20}" y="14">{name}</text>')
        at += 170
    return found


def _render_panel(panel: _Panel, times: Sequence[float], whole: float, *, top: int) -> list[str]:
    known = [value for curve in panel.curves for value in curve.values if value is not None]
    high = _round_up(max([*known, panel.least]))
    parts = [f'<text class="f-ink" x="{_LEFT}" y="{top + 8}" font-weight="600">{escape(panel.title)}</text>']
    for number, curve in enumerate(reversed(panel.legend)):
        x = _WIDTH - _RIGHT - 170 * number
        parts.append(
            f'<text class="f-{curve.kind}" x="{x}" y="{top + 8}" text-anchor="end">{escape(curve.name)}</text>'
        )
    for share in (0.0, 0.5, 1.0):
        y = _scale_y(high * share, high, top)
        parts.append(f'<line class="s-grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        text = panel.shown(float(f"{high * share:.2g}"))
        parts.append(f'<text class="f-dim" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    if panel.line:
        y = _scale_y(panel.line[0], high, top)
        parts.append(
            f'<line class="s-{_LIMIT}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke-dasharray="5 4"/><text class="f-{_LIMIT}" x="{_LEFT + 4}" y="{y + 14:.1f}">'
            f"{escape(panel.line[1])}</text>"
        )
    parts += [
        f'<path class="s-{curve.kind}" d="{path}" fill="none" stroke-width="{1 if curve.thin else 2}" '
        'stroke-linejoin="round"/>'
        for curve in panel.curves
        if (path := _render_path(curve, times, whole, high, top))
    ]
    return parts


def _render_path(curve: _Curve, times: Sequence[float], whole: float, high: float, top: int) -> str:
    parts, pen = [], False
    for at, value in zip(times, curve.values, strict=True):
        if value is None:
            pen = False
            continue
        x, y = _scale_x(at, whole), _scale_y(value, high, top)
        if pen and curve.steps:
            parts.append(f"H{x:.1f}")
        parts.append(f"{'L' if pen else 'M'}{x:.1f} {y:.1f}")
        pen = True
    if len(parts) == 1:
        parts.append("h1")
    return "".join(parts)


def _render_changes(gray_release: GrayRelease, whole: float, bottom: int) -> list[str]:
    """Render a thin line at each change of step or phase."""
    return [
        f'<line class="s-change" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP + 14}" y2="{bottom}" stroke-dasharray="1 3"/>'
        for change in gray_release.changes
        if (x := _scale_x(change.at - gray_release.began, whole)) <= _WIDTH - _RIGHT
    ]


def _render_axis(whole: float, bottom: int) -> list[str]:
    each = next((size for size in _ROUND if whole / size <= _TICKS), _ROUND[-1])
    return [
        f'<text class="f-dim" x="{_scale_x(at, whole):.1f}" y="{bottom + 20}" text-anchor="middle">'
        f"{_format_clock(at)}</text>"
        for at in range(0, int(whole) + 1, each)
    ]


def _format_clock(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes // 60}:{minutes % 60:02d} h" if minutes >= 60 else f"{minutes}:{rest:02d}"  # noqa: PLR2004


def _scale_x(at: float, whole: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * max(0.0, at) / whole


def _scale_y(value: float, high: float, top: int) -> float:
    return top + 16 + (_PANEL - 16) * (1 - min(value, high) / high)


def _round_up(most: float) -> float:
    """Return a round upper end of the scale."""
    size = 10.0 ** math.floor(math.log10(most))
    return next(size * step for step in (1, 2, 4, 6, 8, 10) if size * step >= most * 0.999)
