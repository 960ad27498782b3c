"""Dockerfiles as far as devbox reads them: what they begin with, what they are built from, what went wrong where."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from devbox.errors import EnvFileError
from devbox.images.dockerfile import buildah, context, text
from devbox.images.job import BuildJob
from devbox.model.image import FromDockerfile, step_key

DOCKERFILE = """\
# a comment
ARG VERSION=3.13
ARG IMAGE="python:${VERSION}"
FROM --platform=linux/amd64 ${IMAGE} AS build
ARG VERSION=none
RUN --mount=type=bind,from=alpine:3,target=/a \\
    # in between
    make \\
    all
COPY <<END /file
FROM nothing
END
FROM scratch AS empty
FROM build
COPY --from=0 /a /a
COPY --from=build /b /b
COPY --from=registry.example.org/tool:1 /c /c
"""


def test_the_images_a_dockerfile_begins_with():
    expected = {"alpine:3": "alpine:3", "registry.example.org/tool:1": "registry.example.org/tool:1"}
    assert text.bases(DOCKERFILE, {}) == {"${IMAGE}": "python:3.13", **expected}
    assert text.bases(DOCKERFILE, {"VERSION": "3.11"})["${IMAGE}"] == "python:3.11"


def test_the_line_of_a_step():
    assert text.line_of(DOCKERFILE, "RUN --mount=type=bind,from=alpine:3,target=/a make all") == 6
    assert text.line_of(DOCKERFILE, "COPY --from=build /b /b") == 16
    assert text.line_of(DOCKERFILE, "RUN something else") == 0


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("$A-$B", "a-"),
        ("${A}${NONE}", "a"),
        ("${NONE:-x}${B:-y}${B-z}", "xy"),
        ("${A:+there}${B:+there}${B+set}${NONE+set}", "thereset"),
    ],
)
def test_variables(written: str, meant: str):
    assert text.filled(written, {"A": "a", "B": ""}) == meant


@pytest.mark.parametrize(
    ("rules", "path", "ignored"),
    [
        ("node_modules", "node_modules/a/b", True),
        ("node_modules", "a/node_modules", False),
        ("**/*.pyc", "a/b/c.pyc", True),
        ("**/*.pyc", "c.pyc", True),
        ("*.md\n!README.md", "README.md", False),
        ("*.md\n!README.md", "OTHER.md", True),
        ("/build/", "build/x", True),
        ("a?c", "abc", True),
        ("[a-b]c", "cc", False),
        ("# comment\n\n*", "anything/below", True),
        ("*\n!src", "src/main.py", False),
    ],
)
def test_what_dockerignore_leaves_out(rules: str, path: str, *, ignored: bool):
    assert context.ignored(path, context.rules(rules)) is ignored


def test_the_key_is_what_the_context_holds(tmp_path: Path):
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (tmp_path / ".dockerignore").write_text("out\n")
    (tmp_path / "src").mkdir()
    source = tmp_path / "src" / "main.py"
    source.write_text("1")
    step = FromDockerfile(path="Dockerfile")

    def digest() -> str:
        return context.content(step, str(tmp_path))

    first = digest()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "made").write_text("not looked at")
    (tmp_path / "devbox.lock.toml").write_text("devbox's own")
    source.touch()
    assert digest() == first
    source.chmod(0o755)
    assert (second := digest()) != first
    source.write_text("2")
    assert digest() not in (first, second)


def test_the_place_of_a_project_is_no_part_of_the_key():
    step = FromDockerfile(path="Dockerfile", content="sha256:1", root="/here")
    assert step_key("", step) == step_key("", FromDockerfile(path="Dockerfile", content="sha256:1", root="/there"))
    assert step_key("", step) != step_key("", FromDockerfile(path="Dockerfile", content="sha256:2", root="/here"))


def test_no_dockerfile_is_a_sentence(tmp_path: Path):
    with pytest.raises(EnvFileError, match="there is no Dockerfile"):
        context.content(FromDockerfile(path="Dockerfile"), str(tmp_path))


def test_a_failure_says_the_line_and_what_was_printed():
    output = """[1/2] STEP 1/2: FROM base AS build
[1/2] STEP 2/2: COPY --from=build /b /b
copying
subprocess exited with status 3
Error: building at STEP "COPY --from=build /b /b": while running runtime: exit status 3
"""
    error = buildah.failure(output, DOCKERFILE, "Dockerfile")
    assert error.sentence == "Dockerfile:16: COPY --from=build /b /b failed"
    assert error.details.splitlines()[0] == "copying"
    unknown = buildah.failure('Error: building at STEP "X": no such user\n', DOCKERFILE, "Dockerfile")
    assert unknown.details == "no such user"


def test_the_words_of_a_build():
    place = "/store/tmp/1"
    job = BuildJob(
        home="/store",
        runtime="/run",
        parent=1,
        place=place,
        log="/log",
        storage="/store/buildah",
        blobs="/store/oci/blobs/sha256",
        known=(),
        dockerfile="/p/Dockerfile",
        context="/p",
        ignore="/ignore",
        target="last",
        args={"A": "b c"},
        images={"py": "container-image://oci:/x:b0"},
        use="name",
    )
    words = buildah.build_options(job, "/usr/bin/crun")
    assert words[-1] == "/p"
    for pair in (("--target", "last"), ("--build-arg", "A=b c"), ("--build-context", "py=container-image://oci:/x:b0")):
        assert pair in itertools.pairwise(words)
    assert buildah.storage_options(job) == ["--root", "/store/buildah/root", "--runroot", f"{place}/run"]


def test_new_layers_are_written_packed_by_what_costs_the_least():
    words = buildah.push_options("sha256:1", "/store/tmp/1/new")
    assert words[-2:] == ["sha256:1", "oci:/store/tmp/1/new"]
    assert ("--compression-format", "zstd") in itertools.pairwise(words)
