"""`dockerfile = "…"`: three stages become a service, a second bake is a no-op, a failed step reports its line."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import certificates, layouts
from support.machine import Box, lacking
from support.serving import serving

from devbox.images.store.layout import Descriptor, Layout

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
# Of the image of a registry, whose layers are packed, with a layer of its own.
ON_REGISTRY = """\
FROM {ref}
RUN --mount=type=cache,target=/cache cat /greeting > /said
"""
# Waits until the listener closes the connection.
WAITING = """\
FROM system
RUN bash -c 'read -r _ < /dev/tcp/127.0.0.1/{port}' || true
COPY text /text
RUN --mount=type=bind,target=/context test ! -e /context/.env && cat /context/text > /mounted
CMD ["sleep", "infinity"]
"""
MOUNTING = """\
FROM system
RUN --mount=type=bind,target=/context cat /context/text > /mounted
CMD ["sleep", "infinity"]
"""
ROOT_AND_USER = (
    "root-crun",
    "user-crun",
    pytest.param("root-runc", marks=pytest.mark.long),
    pytest.param("user-runc", marks=pytest.mark.long),
)


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


@pytest.mark.parametrize("box", ROOT_AND_USER, indirect=True)
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
    before = _layers(box, project)
    (project / "new").write_text("1")
    box.ok("up", cwd=project)
    assert _layers(box, project)[:-1] == before[:-1]
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


@pytest.mark.long
def test_a_build_sees_its_context_as_it_was_looked_at(box: Box, project: Path):
    (project / "text").write_text("before")
    (project / ".dockerignore").write_text(".env\n")
    (project / ".env").write_text("secret")
    with socket.create_server(("127.0.0.1", 0)) as door:
        (project / "docker" / "Dockerfile").write_text(WAITING.format(port=door.getsockname()[1]))
        with ThreadPoolExecutor(1) as pool:
            building = pool.submit(box.ok, "up", cwd=project)
            door.settimeout(120)
            waiting, _ = door.accept()
            with waiting:
                (project / "text").write_text("after")
            building.result(timeout=120)
    assert box.ok("exec", "web", "--", "cat", "/text", "/mounted", cwd=project) == "before" * 2
    (project / "docker" / "Dockerfile").write_text(MOUNTING)
    box.ok("up", cwd=project)
    assert box.ok("exec", "web", "--", "cat", "/mounted", cwd=project) == "after"
    (project / "text").write_text("later")
    box.ok("up", cwd=project)
    assert box.ok("exec", "web", "--", "cat", "/mounted", cwd=project) == "later"


def test_layers_of_a_base_stay_what_they_are_at_the_registry(box: Box, tmp_path: Path):
    if shutil.which("buildah") is None:
        lacking("buildah is not installed")
    with serving(tmp_path, "team/base:1", _of_two_layers) as served:
        ref = f"{served.host}/team/base:1"
        file = f'[service.base]\nimage = "{ref}"\ncommand = ["sleep", "infinity"]\n'
        file += '[service.web]\ndockerfile = "Dockerfile"\ncommand = ["sleep", "infinity"]\n'
        project = box.project(file, files={"Dockerfile": ON_REGISTRY.format(ref=ref)})
        box.ok("up", cwd=project)
    assert box.ok("exec", "web", "--", "cat", "/said", cwd=project) == "hello"
    below = _layers(box, project, "service.base")
    assert any(layer["mediaType"].endswith("+gzip") for layer in below)
    assert _layers(box, project)[:-1] == below
    box.ok("image", "verify", cwd=project)


@pytest.mark.long
def test_what_a_dockerfile_begins_with_is_locked_and_not_asked_for_again(box: Box, tmp_path: Path):
    if shutil.which("buildah") is None:
        lacking("buildah is not installed")
    with serving(tmp_path, "team/base:1", _of_two_layers) as served:
        one, two = (f"{served.host}/team/base:{tag}" for tag in (1, 2))
        images = (f"docker://{one}", f"docker://{two}")
        plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
        subprocess.run(["skopeo", "copy", "--quiet", "--all", *plain, *images], check=True)
        file = '[service.web]\ndockerfile = "Dockerfile"\ncommand = ["sleep", "infinity"]\n'
        dockerfile = "FROM {ref}\nCOPY text /text\n"
        project = box.project(file, files={"Dockerfile": dockerfile.format(ref=one), "text": "1"})
        box.ok("up", cwd=project)
        lock = project / "devbox.lock.toml"
        assert one in lock.read_text()

        # All of the base is in the store.
        served.kill()
        (project / "text").write_text("2")
        box.ok("up", cwd=project)
        assert box.ok("exec", "web", "--", "cat", "/text", cwd=project) == "2"
        served.restart()

        # Another base has no entry: none is taken by its tag alone where the lock is demanded.
        (project / "Dockerfile").write_text(dockerfile.format(ref=two))
        for words in (("up", "--locked"), ("lock", "--check")):
            refused = box.run(*words, cwd=project)
            assert refused.returncode == (3 if "--check" in words else 1)
            assert f"{two} has no entry" in refused.stderr.decode()
        box.ok("up", cwd=project)
        assert two in lock.read_text()
        assert one not in lock.read_text()
    box.ok("lock", "--check", cwd=project)
    assert "nothing to do" in box.run("up", "--locked", cwd=project).stderr.decode()


def _of_two_layers(oci: Layout, system: Descriptor) -> Descriptor:
    upper = layouts.layer(oci, {"greeting": b"hello"})
    own = layouts.manifest(oci, (system, system.digest), upper, run={"Env": ["PATH=/usr/bin:/bin"]})
    return layouts.index(oci, (own, layouts.get_architecture()))


def _layers(box: Box, project: Path, image: str = "service.web") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(box.ok("image", "inspect", image, cwd=project))["layers"]
    return found


CONTEXT = """\
FROM system
COPY app /srv/app
CMD ["sleep", "infinity"]
"""


def test_issue9_b8_a_setup_that_ran_in_a_kept_container_does_not_run_again(box: Box) -> None:
    source = '[base.system]\nrecipe = "debian"\n[dev]\nfrom = "system"\ndockerfile = "Dockerfile"\n'
    files = {"Dockerfile": CONTEXT, "app/x.py": "1\n"}
    path = box.project(f'{source}[dev.setup]\nrun = ["echo ran >> /runs"]\n', files=files)
    box.ok("up", cwd=path)
    first = box.ps(path)["dev"]
    (path / "notes.txt").touch()
    box.ok("up", cwd=path)
    assert box.ps(path)["dev"] == first
    assert box.ok("exec", "--", "cat", "/runs", cwd=path) == "ran\n"
    assert box.json("plan", cwd=path)["steps"] == []


def test_issue9_b8_a_build_of_the_same_image_replaces_no_container(box: Box) -> None:
    file = '[base.system]\nrecipe = "debian"\n[service.web]\nfrom = "system"\ndockerfile = "Dockerfile"\n'
    files = {"Dockerfile": CONTEXT, "app/x.py": "1\n", ".git/HEAD": "ref: refs/heads/main\n"}
    path = box.project(file, files=files)
    box.ok("up", cwd=path)
    first = box.ps(path)["web"]

    (path / ".git/COMMIT_EDITMSG").write_text("empty\n")
    assert box.json("plan", cwd=path)["steps"] == []

    (path / "notes.txt").touch()
    reasons = {step["op"]: step["reason"] for step in box.json("plan", cwd=path)["steps"]}
    assert reasons["bake"] == "Dockerfile context changed: notes.txt"
    assert "kept if the digest stays the same" in reasons["replace"]
    box.ok("up", cwd=path)
    assert box.ps(path)["web"] == first
    assert box.json("plan", cwd=path)["steps"] == []

    (path / "app/x.py").write_text("2\n")
    (bake,) = [step for step in box.json("plan", cwd=path)["steps"] if step["op"] == "bake"]
    assert bake["reason"] == "Dockerfile context changed: app/x.py"
    box.ok("up", cwd=path)
    assert box.ps(path)["web"]["pid"] != first["pid"]

    (path / ".dockerignore").write_text("!.git\n")
    box.ok("up", cwd=path)
    (path / ".git/COMMIT_EDITMSG").write_text("another\n")
    (bake,) = [step for step in box.json("plan", cwd=path)["steps"] if step["op"] == "bake"]
    assert bake["reason"] == "Dockerfile context changed: .git/COMMIT_EDITMSG"


IN_RUN = """\
FROM system
ENV PIP_CERT=/own
RUN env > /said && cat "$SSL_CERT_FILE" > /authority && test "$PIP_CERT" = /own
RUN ls -l /dev > /devices
CMD ["sleep", "infinity"]
"""


@pytest.mark.parametrize("box", ROOT_AND_USER, indirect=True)
def test_issue9_c15_run_has_the_authorities_and_mirrors_and_no_image_keeps_them(box: Box, project: Path):
    authority = certificates.authority(project.parent, "Inspecting Proxy")
    authority.chmod(0o644)
    (project / "docker" / "Dockerfile").write_text(IN_RUN)
    mirror = "https://mirror.example.org/simple"
    env = {"DEVBOX_CA_FILE": str(authority), "PIP_INDEX_URL": mirror, "npm_config_registry": mirror}
    box.ok("up", cwd=project, env=env)
    said = box.ok("exec", "web", "--", "cat", "/said", cwd=project).splitlines()
    names = dict(line.partition("=")[::2] for line in said)
    assert names["PIP_INDEX_URL"] == names["npm_config_registry"] == mirror
    for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"):
        assert names[name] == names["SSL_CERT_FILE"]
    assert box.ok("exec", "web", "--", "cat", "/authority", cwd=project) == authority.read_text()
    config = json.dumps(json.loads(box.ok("image", "inspect", "service.web", cwd=project))["config"])
    assert "/own" in config
    assert not any(word in config for word in ("mirror.example.org", "SSL_CERT_FILE=", "devbox-ca"))
    assert box.ok("exec", "web", "--", "sh", "-c", "ls /dev/devbox-ca.crt || true", cwd=project) == ""

    # CAs and mirrors of another host do not change the cached steps.
    before = _layers(box, project)
    (project / "new").write_text("1")
    (project / "docker" / "Dockerfile").write_text(IN_RUN + "LABEL a=b\n")
    box.ok("up", cwd=project, env={"PIP_INDEX_URL": "https://other.example.org"})
    assert _layers(box, project) == before


MEANT = """\
FROM system AS below
ENV SAID=env
USER daemon
WORKDIR /made/by
FROM below
ARG SAID=arg
WORKDIR daemon
RUN echo "$SAID" > said && test "$(stat -c %a .)" = 755
USER root
RUN --mount=type=cache,target=/gone/cache --mount=type=bind,source=docker,target=/gone/too touch /ran
CMD ["sleep", "infinity"]
"""


@pytest.mark.parametrize("box", ROOT_AND_USER, indirect=True)
def test_issue9_ms4_a_dockerfile_means_what_it_means_in_docker(box: Box, project: Path):
    dockerfile = project / "docker" / "Dockerfile"
    dockerfile.write_text(MEANT)
    box.ok("up", cwd=project)
    places = ("/made", "/made/by", "/made/by/daemon")
    assert box.ok("exec", "web", "--", "stat", "-c", "%U:%G %a", *places, cwd=project).split("\n")[:3] == 3 * [
        "daemon:daemon 755"
    ]
    assert box.ok("exec", "web", "--", "cat", "/made/by/daemon/said", cwd=project) == "arg\n"
    assert "gone" not in box.ok("exec", "web", "--", "ls", "/", cwd=project).split()
    config = json.dumps(json.loads(box.ok("image", "inspect", "service.web", cwd=project))["config"])
    assert '"SAID=env"' in config
    assert str(box.home) not in config

    # Another build finds the same steps in the cache.
    before = _layers(box, project)
    dockerfile.write_text(f"{MEANT}LABEL a=b\n")
    box.ok("up", cwd=project)
    assert _layers(box, project) == before


def test_issue9_ms4_a_directory_that_cannot_be_made_is_an_error_of_its_line(box: Box, project: Path):
    (project / "docker" / "Dockerfile").write_text(
        "FROM system\nUSER daemon\nWORKDIR /x\nUSER nobody-there\nWORKDIR /y\n"
    )
    failed = box.run("up", cwd=project)
    assert failed.returncode
    assert "Dockerfile:5: WORKDIR /y failed" in failed.stderr.decode()


def test_issue9_ms4_what_an_older_devbox_had_built_is_built_again(box: Box, project: Path):
    dockerfile, ran = project / "docker" / "Dockerfile", ("exec", "web", "--", "cat", "/ran")
    text = 'FROM system\nRUN cat /proc/sys/kernel/random/uuid > /ran\nCMD ["sleep", "infinity"]\n'
    dockerfile.write_text(text)
    box.ok("up", cwd=project)
    before = box.ok(*ran, cwd=project)
    dockerfile.write_text(f"{text}LABEL a=b\n")
    box.ok("up", cwd=project)
    assert box.ok(*ran, cwd=project) == before
    (box.home / "buildah/layers").unlink()  # as before there was one
    dockerfile.write_text(f"{text}LABEL a=c\n")
    box.ok("up", cwd=project)
    assert box.ok(*ran, cwd=project) != before
