"""Images and Dockerfiles in devbox and in Docker: a running container sees the same, or the difference is explained."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from comparison import table
from comparison.compare import unexplained
from comparison.dockerfiles import everything
from comparison.expected import EXPECTED
from comparison.images import ALL
from comparison.session import Result, Session, cases, session
from support.machine import lacking

# A choice for every run: each of these has been different, or is what most images have.
QUICK = (
    *(("image", name) for name in ("user ann", "user :1700", "user 1516583083", "entrypoint and cmd", "env with dots")),
    *(("image", name) for name in ("workdir of a user", "volume", "stop by SIGRTMIN+3", "high ids", "capabilities")),
    *(("image", name) for name in ("names that are not UTF-8", "xattrs of a directory", "opaque", "layers by zstd")),
    *(("Dockerfile", name) for name in ("RUN arithmetic and a later stage", "COPY --link", "stages in other case")),
    *(("Dockerfile", name) for name in ("ARG and ENV in turns", "WORKDIR of several users", "escape in words")),
    *(("Dockerfile", name) for name in ("RUN with mounts below new directories", "WORKDIR of a user of a stage")),
    *(("Dockerfile", name) for name in ("ARG over ENV", "SHELL for CMD", "a stage that is not needed")),
    *(("Dockerfile", name) for name in ("a stage by the platform", "ARG in ARG before FROM", "fails: RUN")),
)


@pytest.fixture(scope="module")
def made() -> Iterator[Session]:
    """Both sides and a registry."""
    if os.geteuid() != 0:
        pytest.skip("Docker's daemon is root's")
    for program in ("dockerd", "docker", "docker-registry", "buildah", "busybox", "zstd"):
        if shutil.which(program) is None:
            lacking(f"{program} is not installed")
    with session() as one:
        yield one


def _result(made: Session, kind: str, name: str) -> Result:
    return made.image(name) if kind == "image" else made.dockerfile(name)


@pytest.mark.parametrize(("kind", "name"), QUICK)
def test_issue9_show4_a_container_sees_the_same(made: Session, kind: str, name: str) -> None:
    assert not unexplained(_result(made, kind, name).differences, EXPECTED)


@pytest.mark.long
def test_issue9_show4_all_images_and_dockerfiles(made: Session) -> None:
    results = [_result(made, kind, name) for kind, name in cases()]
    differing = {result.name: unexplained(result.differences, EXPECTED) for result in results}
    assert {name: lines for name, lines in differing.items() if lines} == {}
    assert not table.unused(results)
    assert table.page(results) == table.PAGE.read_text()


def test_issue9_show4_there_are_enough_cases() -> None:
    assert len(ALL) >= 90
    assert len(everything("base")) >= 120
    assert set(QUICK) <= set(cases())
