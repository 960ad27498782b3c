"""HAProxy's files, as a pure function of what the router is to do.

They say what holds when HAProxy starts anew, as after a crash; while it runs, it is changed by its runtime API alone:
a reload loses requests.
"""

from __future__ import annotations

from devbox.deploy.haproxy import cohort, counters, metrics, seconds
from devbox.model.router import BASELINE, BLUE, GREEN, Frontend, RouterState, Server, is_backup

DIRECTORY = "/run/router"  # where the container has these files, and the socket of the runtime API
CONFIG, SHARE, CHECKS, SOCKET = "haproxy.cfg", "share.map", "checks.map", "sock"
SHARE_KEY = "green"
INHERITED = "LISTEN_FD_"  # and a port: the number of the socket that listens there, as the supervisor names it
LIVES = 8404  # answers as long as HAProxy lives, whoever serves; and has the metrics

# Connections to servers are closed after each response: one that its server closes at the moment when a POST is sent
# on it would lose that, since nobody may send it again. See docs/adr/0033-router.md.
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


_PAUSE = "1h"  # that a server may make within a response, as within a tunnel


def render_config(state: RouterState) -> str:
    """`haproxy.cfg`."""
    told = "\n".join(f"    {rule}" for rule in metrics.render_rules(state, DIRECTORY, f"{DIRECTORY}/{SHARE}"))
    fronts = (_render_frontend(state, front) for front in state.fronts)
    return "\n".join((_render_head(told), *fronts, counters.render_tables()))


def _render_head(told: str) -> str:
    head = (
        _HEAD.replace("{log}", counters.LOG)
        .replace("{metrics}", told)
        .replace("{counters}", str(seconds.STICK_COUNTERS))
        .replace("{begin}", "\n    ".join(counters.BEGIN))
    )
    return head.replace("{lives}", "\n".join(_render_bind(LIVES)))


def _render_bind(port: int) -> list[str]:
    """By the socket that HAProxy inherits, else by one of its own: of a port that its supervisor does not know yet."""
    return [
        f".if defined({INHERITED}{port})",
        f'    bind "fd@${{{INHERITED}{port}}}"',
        ".else",
        f"    bind :{port}",
        ".endif",
    ]


def render_share_map(state: RouterState) -> str:
    """`share.map`: one key, so that one command of the runtime API moves all traffic."""
    more = cohort.build_map_entries(share=state.share, canary=state.canary) if state.cohort else {}
    return "".join(f"{key} {value}\n" for key, value in {SHARE_KEY: str(state.share), **more}.items())


def render_metrics_page(state: RouterState) -> str:
    """`metrics.lf`: what Prometheus is told."""
    return metrics.render_page(state, DIRECTORY, f"{DIRECTORY}/{SHARE}")


def render_checks_map(state: RouterState) -> str:
    """`checks.map`: of each server, the path that it is asked for. A backend has servers of two releases at times."""
    servers = (server for each in state.list_servers().values() for server in each.values())
    return "".join(f"{server.name} {server.check}\n" for server in servers if server.check)


def _render_frontend(state: RouterState, front: Frontend) -> str:
    lines = [
        f"frontend {front.process}",
        *_render_bind(front.port),
        "    option forwardfor",
        "    http-request set-header X-Forwarded-Host %[req.hdr(host)]",
        "    http-request set-header X-Forwarded-Proto http",
        # Only these are repeated after they have been sent: others are executed once or not at all.
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
    """Which side a request goes to."""
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


# SLOW_START: one that comes, or comes back, gets its full share of requests after so long: caches are cold.
SLOW_START = "10s"
# A server that stops answering gets no more requests until it answers again. A check may take `inter` to connect and
# `timeout check` to be answered: on a busy machine an answer is late, and a late one is no failure.
CHECKED = f"check inter 2s fastinter 1s fall 3 rise 1 slowstart {SLOW_START}"
# One of the canary or of a baseline, from the first connection that fails: the same request goes to a backup.
ON_TRIAL = "observe layer4 error-limit 1 on-error mark-down"
BACKUP = "backup"  # without checks, so that it is never down


def format_server(state: RouterState, side: str, server: Server) -> str:
    """A server as HAProxy is told of it, without its name."""
    if is_backup(server.name):
        return f"{format_endpoint(server)} {BACKUP}"
    return f"{format_endpoint(server)} {CHECKED}{f' {ON_TRIAL}' if side in (state.canary, BASELINE) else ''}"


def _render_check(front: Frontend) -> list[str]:
    """HAProxy counts 2xx and 3xx as good."""
    if not front.asks:
        return []
    path = f"%[srv_name,map_str({DIRECTORY}/{CHECKS},/)]"
    return ["    option httpchk", f'    http-check send meth GET uri-lf "{path}"']


def format_endpoint(server: Server) -> str:
    """Where a server listens."""
    return f"{server.address}:{server.port}"
