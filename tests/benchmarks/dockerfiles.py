"""Benchmark of a fully cached Dockerfile rebuild: devbox and buildah."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.buildah_peer import buildah
from benchmarks.measure import Contender, Result, command, side_by_side
from benchmarks.project import Bench

_FILE = """
[project]
name = "stages"

[base.system]
recipe = "python"

[service.app]
from = "system"
kind = "job"
dockerfile = { path = "Dockerfile", args = { BASE = "system" } }
command = ["true"]
"""
_DOCKERFILE = """\
ARG BASE=bench/system
FROM ${BASE} AS build
RUN --mount=type=cache,target=/cache echo made > /made

FROM ${BASE} AS test
COPY --from=build /made /made
RUN grep made /made > /tested

FROM ${BASE}
COPY --from=build /made /srv/made
COPY --from=test /tested /srv/tested
COPY used /srv/used
USER daemon
HEALTHCHECK CMD test -f /srv/made
CMD ["true"]
"""
_ROUNDS = 5
_OVER = 500.0  # ms over buildah's own


def dockerfiles(bench: Bench) -> list[Result]:
    """Nothing changed; then the context did, in a file that no step copies: every step is cached."""
    with _project(bench) as ours, buildah() as peer:
        peer.load(ours.layout(), ours.reference("base.system"), "bench/system")
        contenders = [
            Contender("devbox", command([ours.program, "up"], cwd=ours.root, env=ours.environment)),
            Contender(
                "buildah", command(peer.build(ours.root / "Dockerfile", ours.root), cwd=ours.root, env=peer.environment)
            ),
        ]
        numbers = itertools.count()

        def change() -> None:
            (ours.root / "unused").write_text(str(next(numbers)))

        changed = [Contender(each.name, each.work, before=change) for each in contenders]
        return [
            side_by_side("Dockerfile of 3 stages, nothing changed", contenders, rounds=_ROUNDS, over=_OVER),
            side_by_side("  its context changed, all steps cached", changed, rounds=_ROUNDS, over=_OVER),
        ]


@contextmanager
def _project(bench: Bench) -> Iterator[Bench]:
    ours = Bench(bench.base, "stages", _FILE)
    (ours.root / "Dockerfile").write_text(_DOCKERFILE)
    (ours.root / "used").write_text("used")
    try:
        ours.devbox("up", "--progress", "quiet")
        yield ours
    finally:
        ours.devbox("down", "-v", "--progress", "quiet")
