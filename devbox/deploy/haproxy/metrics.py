"""Prometheus metrics of a router, at `/metrics` of its own port: live counters and the state of the gray release.

HAProxy renders the page from its counters and maps, so that no exporter is needed and counting continues without a
controller. HAProxy's own metrics are at `/metrics/haproxy`. A page is limited to one buffer, hence only the first of
many processes have response times.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import accumulate

from devbox.deploy.haproxy import cohort, counters
from devbox.model.router import BASELINE, BLUE, GREEN, WHOLE, Frontend, RouterState, get_other_side
from devbox.model.traffic import TIMES

PAGE, ROLLOUT = "metrics.lf", "rollout.map"
PATH, OWN = "/metrics", "/metrics/haproxy"
LINES = 72  # lines of a controller; HAProxy expressions cannot return several
_LIMITS = (5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_000_000, 5_000_000)  # of TIMES
_ROOM = 15_000  # bytes of a page in one buffer: 16 KiB minus the response head
_CONTROLLER_LINES, _NUMBER = 5_000, 10  # bytes of a controller's lines, and of a number
_EXPRESSION = re.compile(r"%\[[^]]*\]")
_ABOUT = {
    "visitors_ratio": ("gauge", "The share of clients that a side has."),
    "requests_total": ("counter", "Responses, including those of the router itself."),
    "requests_failed_total": ("counter", "Responses of 500 and above."),
    "requests_rescued_total": ("counter", "Requests that stable answered because the canary did not."),
    "requests_lost_total": ("counter", "Requests that no server answered."),
    "shut_out": ("gauge", "Whether the router has shut the side out after consecutive failed requests."),
    "response_seconds": ("histogram", "Time until the headers of a response."),
}
_COUNTED = {
    "requests_total": counters.REQUESTS,
    "requests_failed_total": counters.FAILED,
    "requests_rescued_total": counters.RESCUED,
    "requests_lost_total": counters.LOST,
}


def render_rules(state: RouterState, directory: str, share: str) -> list[str]:
    """Render the rules of the router's own frontend. `share`: the share map."""
    condition = f"if {{ path {PATH} }}"
    shown, timed = _select_fitting(state, share)
    found = [f"http-request use-service prometheus-exporter if {{ path {OWN} }}"]
    found += [f"{rule} {condition}" for rule in _render_sum_rules(shown, timed)]
    found += [*cohort.render_share_rules(share), *_render_share_rules(state, share)]
    kind = "text/plain; version=0.0.4; charset=utf-8"
    found.append(f'http-request return status 200 content-type "{kind}" lf-file {directory}/{PAGE} {condition}')
    found.append("http-request return status 404")
    return found


def render_page(state: RouterState, directory: str, share: str) -> str:
    """Render the page in HAProxy's log format."""
    samples = (f"%[str({number}),map_str({directory}/{ROLLOUT},#)]" for number in range(LINES))
    return "\n".join([*_render_counts(*_select_fitting(state, share), share), *samples, ""])


def _select_fitting(state: RouterState, share: str) -> tuple[RouterState, int]:
    """Return the processes that fit, and how many of them with response times."""
    heads, room = _measure_length(replace(state, fronts=()), 0, share), _ROOM - _CONTROLLER_LINES
    alone = [replace(state, fronts=(front,)) for front in state.fronts]
    counted = [_measure_length(each, 0, share) - heads for each in alone]
    times = [_measure_length(each, 1, share) - heads - own for each, own in zip(alone, counted, strict=True)]
    shown = sum(whole <= room - heads for whole in accumulate(counted))
    left = room - heads - sum(counted[:shown])
    timed = sum(whole <= left for whole in accumulate(times[:shown]))
    return replace(state, fronts=state.fronts[:shown]), timed


def _measure_length(state: RouterState, timed: int, share: str) -> int:
    """Return the length of the template or of its output, whichever is longer: both must fit in one buffer."""
    lines = "\n".join(_render_counts(state, timed, share))
    return max(len(lines), len(_EXPRESSION.sub("0" * _NUMBER, lines)))


def _render_counts(state: RouterState, timed: int, share: str) -> list[str]:
    lines = _format_head("visitors_ratio")
    lines += [
        _format_line("visitors_ratio", _format_labels(side, share), f"%[var(txn.of_{side})]e-4")
        for side in reversed(state.groups)
    ]
    if state.cohort:
        sides = [(front, side) for front in state.fronts for side in state.groups]
        for name, at in _COUNTED.items():
            lines += _format_head(name)
            lines += [
                _format_line(
                    name,
                    _format_labels(side, share, front),
                    f"%[str({front.get_backend_name(side)}),table_gpc({at},{cohort.SIDES})]",
                )
                for front, side in sides
            ]
        lines += _format_head("shut_out")
        lines += [
            _format_line(
                "shut_out",
                _format_labels(side, share, front),
                f"%[{counters.render_shut_out(front.get_backend_name(side))}]",
            )
            for front, side in sides
        ]
        lines += _render_times(state, timed, share)
    return lines


def render_rollout_map(text: str) -> str:
    """Render `rollout.map`: the controller's metrics, one numbered line each."""
    return "".join(f"{number} {line}\n" for number, line in enumerate(text.splitlines()[:LINES]) if line)


def render_prepare_command(directory: str) -> str:
    """Return the first command of an atomic map update; the answer is a version."""
    return f"prepare map {directory}/{ROLLOUT}"


def render_update_commands(text: str, directory: str, *, version: str) -> tuple[str, ...]:
    """Return the commands that follow."""
    place = f"@{version} {directory}/{ROLLOUT}"
    return (
        (f"add map {place} <<\n{render_rollout_map(text)}", f"commit map {place}") if text else (f"commit map {place}",)
    )


def _render_share_rules(state: RouterState, share: str) -> list[str]:
    """Render `txn.of_SIDE`, the buckets of each group, from `txn.share`."""
    found = [
        "http-request set-var(txn.of_green) var(txn.share)",
        f"http-request set-var(txn.of_blue) int({WHOLE}),sub(txn.share)",
    ]
    if BASELINE not in state.groups:
        return found
    is_there = " ".join(f"{{ nbsrv({front.get_backend_name(BASELINE)}) gt 0 }}" for front in state.fronts[:1])
    found += [
        f"http-request set-var(txn.trial) str(canary),map_str_int({share},0)",
        f"http-request set-var(txn.of_{BASELINE}) int(0)",
    ]
    for side in (BLUE, GREEN):
        expression = f"{{ var(txn.trial) -m int {cohort.CANARY[side]} }} {is_there}"
        most = f"{{ var(txn.of_{side}) -m int gt {WHOLE // 2} }}"  # at most half is left for the baseline
        found += [
            f"http-request set-var(txn.of_{BASELINE}) var(txn.of_{side}) if {expression}",
            f"http-request set-var(txn.of_{BASELINE}) var(txn.of_{get_other_side(side)}) if {expression} {most}",
        ]
    found += [
        f"http-request set-var(txn.of_{side}) var(txn.of_{side}),sub(txn.of_{BASELINE})"
        f" if {{ var(txn.trial) -m int {cohort.CANARY[get_other_side(side)]} }}"
        for side in (BLUE, GREEN)
    ]
    return found


def _render_sum_rules(state: RouterState, timed: int) -> list[str]:
    """Render cumulative counts of responses, since the counters are per class."""
    found = []
    for front, side in _list_timed(state, timed):
        found.append("http-request set-var(txn.sum) int(0)")
        for at in range(len(TIMES) + 1):
            count = f"str({front.get_backend_name(side)}),table_gpc({counters.FIRST_TIME + at},{cohort.SIDES})"
            found.append(f"http-request set-var(txn.sum) {count},add(txn.sum)")
            if at == len(TIMES) or TIMES[at] in _LIMITS:
                found.append(f"http-request set-var(txn.{_name_sum(state, front, side, at)}) var(txn.sum)")
    return found


def _render_times(state: RouterState, timed: int, share: str) -> list[str]:
    name, found = "response_seconds", []
    for front, side in _list_timed(state, timed):
        labels = _format_labels(side, share, front)
        for limit in _LIMITS:
            value = f"%[var(txn.{_name_sum(state, front, side, TIMES.index(limit))})]"
            found.append(_format_line(f"{name}_bucket", f'{labels},le="{limit / 1_000_000:g}"', value))
        whole = f"%[var(txn.{_name_sum(state, front, side, len(TIMES))})]"
        found += [
            _format_line(f"{name}_bucket", f'{labels},le="+Inf"', whole),
            _format_line(f"{name}_count", labels, whole),
        ]
    return [*_format_head(name), *found] if found else []


def _list_timed(state: RouterState, timed: int) -> list[tuple[Frontend, str]]:
    fronts = state.fronts[:timed] if state.cohort else ()
    return [(front, side) for front in fronts for side in state.groups]


def _name_sum(state: RouterState, front: Frontend, side: str, at: int) -> str:
    return f"sum_{state.fronts.index(front)}_{side}_{at}"


def _format_labels(side: str, share: str, front: Frontend | None = None) -> str:
    """Return the labels: the color and its current role: canary, stable or baseline."""
    process = f'process="{front.process}",' if front else ""
    if side == BASELINE:
        return f'{process}color="{side}",side="{side}"'
    expression = f"str(canary),map_str_int({share},0),and({cohort.CANARY[side]}),bool,iif(canary,stable)"
    return f'{process}color="{side}",side="%[{expression}]"'


def _format_head(name: str) -> list[str]:
    kind, about = _ABOUT[name]
    return [f"# HELP devbox_{name} {about}", f"# TYPE devbox_{name} {kind}"]


def _format_line(name: str, labels: str, value: str) -> str:
    return f"devbox_{name}{{{labels}}} {value}"
