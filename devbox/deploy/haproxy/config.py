"""HAProxy configuration files, as a pure function of the desired router state.

The files apply when HAProxy starts, for example after a crash; a running HAProxy is changed only by its runtime API, as
a reload loses requests.
"""

from __future__ import annotations

from devbox.deploy.haproxy import cohort, counters, metrics, seconds
from devbox.model.router import BASELINE, BLUE, GREEN, Frontend, RouterState, Server, is_backup

DIRECTORY = "/run/router"  # directory in the container of these files and the runtime API socket
CONFIG, SHARE, CHECKS, SOCKET = "haproxy.cfg", "share.map", "checks.map", "sock"
SHARE_KEY = "green"
INHERITED = "LISTEN_FD_"  # plus a port: descriptor of its listening socket, named by the supervisor
LIVES = 8404  # liveness endpoint of HAProxy itself, and metrics

# Close server connections after each response: a POST sent on a connection that its server closes at that moment would
# be lost, since it must not be repeated. See docs/adr/0033-router.md.
_HEAD = f"""\
global
    log stdout format raw local0 info
    stats socket {DIRECTORY}/{SOCKET} mode 600 level admin
    maxconn 8192
    tune.stick-counters {{counters}}
    {{begin}}

defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s

frontend devbox.lives
{{lives}}
    monitor-uri /
{{metrics}}

defaults
    mode http
    log global
    log-format "{{log}}"
    option dontlog-normal
    option http-server-close
    option redispatch 1
    retries 5
    retry-on conn-failure empty-response
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout queue 30s
    timeout tunnel 1h
    timeout check 5s
    option allbackups
    option abortonclose
"""


_PAUSE = "1h"  # maximum pause of a server within a response, as within a tunnel


def render_config(state: RouterState) -> str:
    """Render `haproxy.cfg`."""
    metric_rules = "\n".join(f"    {rule}" for rule in metrics.render_rules(state, DIRECTORY, f"{DIRECTORY}/{SHARE}"))
    fronts = (_render_frontend(state, front) for front in state.fronts)
    return "\n".join((_render_head(metric_rules), *fronts, counters.render_tables()))


def _render_head(metric_rules: str) -> str:
    head = (
        _HEAD.replace("{log}", counters.LOG)
        .replace("{metrics}", metric_rules)
        .replace("{counters}", str(seconds.STICK_COUNTERS))
        .replace("{begin}", "\n    ".join(counters.BEGIN))
    )
    return head.replace("{lives}", "\n".join(_render_bind(LIVES)))


def _render_bind(port: int) -> list[str]:
    """Render the bind on the inherited socket, or a new one for a port unknown to the supervisor."""
    return [
        f".if defined({INHERITED}{port})",
        f'    bind "fd@${{{INHERITED}{port}}}"',
        ".else",
        f"    bind :{port}",
        ".endif",
    ]


def render_share_map(state: RouterState) -> str:
    """Render `share.map`: one key, so that a single runtime command moves all traffic."""
    more = cohort.build_map_entries(share=state.share, canary=state.canary) if state.cohort else {}
    return "".join(f"{key} {value}\n" for key, value in {SHARE_KEY: str(state.share), **more}.items())


def render_metrics_page(state: RouterState) -> str:
    """Render `metrics.lf`, the Prometheus page."""
    return metrics.render_page(state, DIRECTORY, f"{DIRECTORY}/{SHARE}")


def render_checks_map(state: RouterState) -> str:
    """Render `checks.map`: health check path by server. A backend may have servers of two releases."""
    servers = (server for each in state.list_servers().values() for server in each.values())
    return "".join(f"{server.name} {server.check}\n" for server in servers if server.check)


def _render_frontend(state: RouterState, front: Frontend) -> str:
    lines = [
        f"frontend {front.process}",
        *_render_bind(front.port),
        "    option forwardfor",
        "    http-request set-header X-Forwarded-Host %[req.hdr(host)]",
        "    http-request set-header X-Forwarded-Proto http",
        # Only these are repeated once sent: other requests are executed at most once.
        "    http-request disable-l7-retry unless METH_GET or METH_OPTIONS",
        *(f"    {rule}" for rule in _render_routing(state, front)),
        "",
    ]
    for side in state.groups:
        lines += [
            f"backend {front.get_backend_name(side)}",
            *_render_check(front),
            f"    http-response set-timeout server {_PAUSE}",
        ]
        lines += [
            f"    server {server.name} {format_server(state, side, server)}"
            for server in state.list_with_backups(front, side)
        ]
        lines.append("")
    return "\n".join(lines)


def _render_routing(state: RouterState, front: Frontend) -> list[str]:
    """Render the rules that choose a request's side."""
    if state.cohort:
        rules = cohort.render_rules(state.cohort, process=front.process, file=f"{DIRECTORY}/{SHARE}")
        return [*rules, *counters.render_rules(f"{DIRECTORY}/{SHARE}"), f"use_backend {front.process}.%[var(txn.side)]"]
    return [
        *counters.render_loss_rules(front.process),
        f"http-request set-var(txn.share) str({SHARE_KEY}),map_str_int({DIRECTORY}/{SHARE},0)",
        "http-request set-var(txn.bucket) rand(10000)",
        f"use_backend {front.get_backend_name(GREEN)} if {{ var(txn.bucket),sub(txn.share) -m int lt 0 }}",
        f"default_backend {front.get_backend_name(BLUE)}",
    ]


# SLOW_START: time until a new or recovered server gets its full share of requests, as caches are cold.
SLOW_START = "10s"
# A server that stops responding gets no requests until it responds again. A check may take `inter` to connect plus
# `timeout check` to respond: on a busy host, a late response is not a failure.
CHECKED = f"check inter 2s fastinter 1s fall 3 rise 1 slowstart {SLOW_START}"
# Canary and baseline: down at the first failed connection; the request is repeated on a backup.
ON_TRIAL = "observe layer4 error-limit 1 on-error mark-down"
BACKUP = "backup"  # without checks, so that a backup is never down


def format_server(state: RouterState, side: str, server: Server) -> str:
    """Format a server for HAProxy, without its name."""
    if is_backup(server.name):
        return f"{format_endpoint(server)} {BACKUP}"
    return f"{format_endpoint(server)} {CHECKED}{f' {ON_TRIAL}' if side in (state.canary, BASELINE) else ''}"


def _render_check(front: Frontend) -> list[str]:
    """Render the check; HAProxy accepts 2xx and 3xx."""
    if not front.asks:
        return []
    path = f"%[srv_name,map_str({DIRECTORY}/{CHECKS},/)]"
    return ["    option httpchk", f'    http-check send meth GET uri-lf "{path}"']


def format_endpoint(server: Server) -> str:
    """Format the address and port of a server."""
    return f"{server.address}:{server.port}"
