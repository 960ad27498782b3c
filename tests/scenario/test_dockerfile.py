"""`dockerfile = "…"`: three stages become a service, a second bake is none, a failed step says its line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.machine import Box, lacking

FILE = """
[base.system]
recipe = "debian"

[service.web]
from = "system"
dockerfile = { path = "docker/Dockerfile", context = ".", args = { GREETING = "hello" } }
"""
DOCKERFILE = """\
ARG SYSTEM=nothing
ARG BASE=system
FROM ${BASE} AS build
ARG GREETING=none
RUN --mount=type=cache,target=/cache test -n "$https_proxy" && echo once >> /cache/runs; \\
    echo "$GREETING $(wc -l < /cache/runs)" > /made

FROM system AS middle
COPY --from=build /made /made
RUN echo more >> /made

FROM system
COPY --from=middle --chown=daemon /made /srv/made
COPY . /srv/context
ENV PLACE=here
WORKDIR /srv
USER daemon
EXPOSE 8000/tcp
HEALTHCHECK --interval=1s CMD test -f /tmp/ready
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["id -un; cat made; env; touch /tmp/ready; exec sleep infinity"]
"""


@pytest.fixture
def project(box: Box) -> Path:
    """A project with a Dockerfile of three stages."""
    if shutil.which("buildah") is None:
        lacking("buildah is not installed")
    made = box.project(FILE)
    (made / "docker").mkdir()
    (made / "docker" / "Dockerfile").write_text(DOCKERFILE)
    (made / ".dockerignore").write_text("ignored\n")
    (made / "ignored").write_text("1")
    return made


def test_a_dockerfile_runs_under_up(box: Box, project: Path):
    proxy = {"https_proxy": "http://proxy.example.org:3128"}
    box.ok("up", cwd=project, env=proxy)
    web = next(row for row in json.loads(box.ok("ps", "--json", cwd=project)) if row["name"] == "web")
    assert web["health"] == "healthy"
    said = box.ok("logs", "web", cwd=project)
    assert "daemon\nhello 1\nmore" in "\n".join(line.partition("| ")[2] or line for line in said.splitlines())
    assert "PLACE=here" in said
    config = json.loads(box.ok("image", "inspect", "service.web", cwd=project))["config"]
    assert "proxy.example.org" not in json.dumps(config)
    assert "CERT" not in json.dumps(config)
    assert config["config"]["ExposedPorts"] == {"8000/tcp": {}}
    assert box.ok("exec", "web", "--", "ls", "/srv/context", cwd=project).split() == ["devbox.toml", "docker"]

    # Nothing changed, or only what is ignored.
    (project / "ignored").write_text("2")
    assert "nothing to do" in box.run("up", cwd=project).stderr.decode()

    # What did change is built, on what was cached: the cache mount has been written to once.
    (project / "new").write_text("1")
    box.ok("up", cwd=project)
    assert "new" in box.ok("exec", "web", "--", "ls", "/srv/context", cwd=project)
    assert "hello 1" in box.ok("exec", "web", "--", "cat", "/srv/made", cwd=project)


def test_a_failed_step_says_its_line_and_what_it_printed(box: Box, project: Path):
    dockerfile = project / "docker" / "Dockerfile"
    dockerfile.write_text("FROM system\nENV A=b\nRUN echo the reason; \\\n    exit 3\n")
    done = box.run("up", cwd=project)
    said = done.stderr.decode()
    assert done.returncode == 1
    assert "Dockerfile:3" in said
    assert "  | the reason" in said
    assert "devbox up" in said
