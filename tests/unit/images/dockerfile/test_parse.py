"""Parsing of Dockerfiles: base images, inputs, and the lines of errors."""

from __future__ import annotations

import itertools
import os
import socket
import stat
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devbox.errors import BakeFailed, EnvFileError
from devbox.images.bake.jobs import BuildJob
from devbox.images.dockerfile import buildah, context, parse
from devbox.images.dockerfile.rewrite import ADDED, adapt_dockerfile, check_supported
from devbox.images.store.documents import SOURCE_DATE_EPOCH
from devbox.images.store.manifest import get_architecture
from devbox.model.image import FromDockerfile, ImageConfig, ImageSpec, compute_step_key

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
    assert parse.find_bases(DOCKERFILE, {}) == {"${IMAGE}": "python:3.13", **expected}
    assert parse.find_bases(DOCKERFILE, {"VERSION": "3.11"})["${IMAGE}"] == "python:3.11"


@pytest.mark.parametrize(
    "arguments",
    [
        "ARG NAME=python VERSION=3.13",
        "ARG NAME=\"python\" OTHER VERSION='3.13'",
        'ARG TITLE="two words" NAME=python\nARG VERSION="3.13"',
        "ARG SHORT=3 NAME=python VERSION=${SHORT}.13",
    ],
)
def test_several_arguments_in_one_instruction(arguments: str):
    assert parse.find_bases(f"{arguments}\nFROM $NAME:$VERSION\n", {})["$NAME:$VERSION"] == "python:3.13"
    assert parse.find_bases(f"{arguments}\nFROM $NAME:$VERSION\n", {"NAME": "py"})["$NAME:$VERSION"] == "py:3.13"


@pytest.mark.parametrize(
    ("source", "pins", "expected"),
    [
        ("FROM b/one:1", {"b/one:1": "sha256:1"}, ({"b/one:1": "sha256:1"}, {})),
        ("FROM b/two:1", {"b/one:1": "sha256:1"}, (None, {})),
        ("FROM b/one:1\nCOPY --from=b/two:1 / /", {"b/one:1": "sha256:1"}, (None, {"b/one:1": "sha256:1"})),
        ("FROM b/one:1", {"b/one:1": "sha256:1", "b/two:1": "sha256:2"}, ({"b/one:1": "sha256:1"}, {})),
        ("FROM system", {"b/one:1": "sha256:1"}, (None, {})),
        ("FROM b/one:1", None, (None, {})),
    ],
)
def test_digests_of_the_lock_hold_for_the_images_that_it_begins_with_now(
    tmp_path: Path, source: str, pins: dict[str, str] | None, expected: tuple[dict[str, str] | None, dict[str, str]]
):
    (tmp_path / "Dockerfile").write_text(source)
    step = FromDockerfile(path="Dockerfile", base="system", pins=pins)
    spec = ImageSpec(name="dev", parent=None, steps=(step,), config=ImageConfig())
    seen = context.add_contents({"dev": spec}, str(tmp_path), lock="devbox.lock.toml")
    fixed = seen["dev"].steps[0]
    assert isinstance(fixed, FromDockerfile)
    assert (fixed.pins, fixed.prefer) == expected
    assert context.add_contents(seen, str(tmp_path), lock="devbox.lock.toml") == seen


def test_the_line_of_a_step():
    for step, line in (("RUN --mount=type=bind,from=alpine:3,target=/a make all", 6), ("COPY --from=build /b /b", 16)):
        assert parse.find_line(DOCKERFILE, step, added=ADDED) == (line, step)
    assert parse.find_line(DOCKERFILE, "RUN something else", added=ADDED) == (0, "RUN something else")


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
    assert parse.expand_variables(written, {"A": "a", "B": ""}) == meant


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
    assert context.is_ignored(path, context.parse_rules(rules)) is ignored


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A Dockerfile, its context, and its ignore file."""
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    (root / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (root / ".dockerignore").write_text("out\n.env\n*.log\n!kept.log\nleft\n!left/kept\n")
    (root / "src" / "main.py").write_text("1")
    return root


def _step(root: Path, **fields: Any) -> FromDockerfile:
    step = FromDockerfile(path="Dockerfile", root=str(root), **fields)
    return replace(step, content=context.hash_context(step)[0])


def test_the_key_is_what_the_context_holds(project: Path):
    source = project / "src" / "main.py"
    first = _step(project).content
    (project / "out").mkdir()
    (project / "out" / "made").write_text("not looked at")
    (project / "devbox.lock.toml").write_text("devbox's own")
    source.touch()
    assert _step(project).content == first
    source.chmod(0o755)
    assert (second := _step(project).content) != first
    source.write_text("2")
    assert _step(project).content not in (first, second)


def test_the_key_is_the_same_whatever_the_umask_of_the_checkout(project: Path):
    first = _step(project).content
    for path in (project, *project.rglob("*")):
        path.chmod(0o775 if path.is_dir() else 0o664)
    assert _step(project).content == first


def test_sockets_and_pipes_are_no_part_of_a_context(project: Path):
    first = _step(project).content
    os.mkfifo(project / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(project / "socket"))
        assert _step(project).content == first


@pytest.mark.parametrize(
    ("lock", "inside", "written"),
    [
        ("ci.lock.toml", ".", "ci.lock.toml"),
        ("worker/ci.lock.toml", "worker", "worker/ci.lock.toml"),
        ("devbox.lock.toml", "worker", "devbox.lock.toml"),
    ],
)
def test_the_lock_of_the_file_is_no_part_of_a_context(project: Path, lock: str, inside: str, written: str):
    (project / "worker").mkdir()
    first = _step(project, context=inside, lock=lock).content
    (project / written).write_text("devbox's own")
    assert _step(project, context=inside, lock=lock).content == first
    (project / inside / "other.lock.toml").write_text("of another program")
    assert _step(project, context=inside, lock=lock).content != first


def test_a_build_gets_a_copy_of_what_the_key_was_made_from(project: Path, tmp_path: Path):
    (project / ".env").write_text("secret")
    (project / "a.log").write_text("left out")
    (project / "kept.log").write_text("not left out")
    (project / "empty").mkdir(mode=0o700)
    (project / "run").write_text("#!/bin/sh\n")
    (project / "run").chmod(0o775)
    (project / "src" / "main.py").chmod(0o600)
    (project / "link").symlink_to("src/nowhere")
    (project / "twice").hardlink_to(project / "run")
    (project / "left" / "kept").mkdir(parents=True)
    (project / "left" / "kept" / "file").write_text("below what is left out")
    (project / "left" / "other").write_text("left out")
    with (project / "holes").open("wb") as sparse:
        sparse.truncate(1 << 25)
        sparse.seek(1 << 24)
        sparse.write(b"data")
    os.mkfifo(project / "pipe")
    umask = os.umask(0o077)
    try:
        copied = context.copy_context(_step(project), _fresh(tmp_path / "copy"))
    finally:
        os.umask(umask)
    there = Path(copied.context)
    assert {str(path.relative_to(there)): _permissions(path) for path in there.rglob("*")} == {
        **dict.fromkeys(("src", "empty", "left", "left/kept"), "drwxr-xr-x"),
        **dict.fromkeys(("run", "twice"), "-rwxr-xr-x"),
        **dict.fromkeys((".dockerignore", "Dockerfile", "kept.log", "src/main.py"), "-rw-r--r--"),
        **dict.fromkeys(("left/kept/file", "holes"), "-rw-r--r--"),
        "link": "lrwxrwxrwx",
    }
    assert (there / "link").readlink() == Path("src/nowhere")
    assert (there / "holes").stat().st_blocks < 1 << 10
    assert {path.lstat().st_mtime for path in (there, *there.rglob("*"))} == {SOURCE_DATE_EPOCH}
    assert Path(copied.dockerfile).read_text() == (project / "Dockerfile").read_text()


@pytest.mark.parametrize("change", ["src/main.py", "Dockerfile", "new", ".dockerignore"])
def test_a_context_that_changed_since_it_was_looked_at_is_not_built(project: Path, tmp_path: Path, change: str):
    step = _step(project)
    (project / change).write_text("2")
    with pytest.raises(BakeFailed, match="the context of Dockerfile changed while being copied"):
        context.copy_context(step, _fresh(tmp_path / "copy"))


def test_a_context_that_changes_while_it_is_read_is_a_sentence(project: Path):
    done = threading.Event()

    def edit() -> None:
        while not done.is_set():
            (project / "new").touch()
            (project / "new").unlink()

    def read_until_it_meets_an_edit() -> None:
        while True:
            _step(project)

    editor = threading.Thread(target=edit)
    editor.start()
    try:
        with pytest.raises(BakeFailed, match="changed while being read"):
            read_until_it_meets_an_edit()
    finally:
        done.set()
        editor.join()


def _fresh(path: Path) -> str:
    path.mkdir()
    return str(path)


def _permissions(path: Path) -> str:
    return stat.filemode(path.lstat().st_mode)


def test_the_place_of_a_project_is_no_part_of_the_key():
    step = FromDockerfile(path="Dockerfile", content="sha256:1", root="/here")
    assert compute_step_key("", step) == compute_step_key(
        "", FromDockerfile(path="Dockerfile", content="sha256:1", root="/there")
    )
    assert compute_step_key("", step) != compute_step_key(
        "", FromDockerfile(path="Dockerfile", content="sha256:2", root="/here")
    )


def test_no_dockerfile_is_a_sentence(tmp_path: Path):
    with pytest.raises(EnvFileError, match="cannot read the Dockerfile"):
        context.hash_context(FromDockerfile(path="Dockerfile", root=str(tmp_path)))


def test_a_failure_says_the_line_and_what_was_printed():
    output = """[1/2] STEP 1/2: FROM base AS build
[1/2] STEP 2/2: COPY --from=build /b /b
copying
subprocess exited with status 3
Error: building at STEP "COPY --from=build /b /b": while running runtime: exit status 3
"""
    error = buildah.explain_failure(output, DOCKERFILE, "Dockerfile")
    assert error.sentence == "Dockerfile:16: COPY --from=build /b /b failed"
    assert error.details.splitlines()[0] == "copying"
    unknown = buildah.explain_failure('Error: building at STEP "X": no such user\n', DOCKERFILE, "Dockerfile")
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
    words = buildah.format_build_options(job, "/usr/bin/crun")
    assert words[-1] == "/p"
    for pair in (("--target", "last"), ("--build-arg", "A=b c"), ("--build-context", "py=container-image://oci:/x:b0")):
        assert pair in itertools.pairwise(words)
    assert buildah.format_storage_options(job) == ["--root", "/store/buildah/root", "--runroot", f"{place}/run"]


def test_new_layers_are_written_packed_by_what_costs_the_least():
    words = buildah.format_push_options("sha256:1", "/store/tmp/1/new")
    assert words[-2:] == ["sha256:1", "oci:/store/tmp/1/new"]
    assert ("--compression-format", "zstd") in itertools.pairwise(words)


STAGES = """\
FROM unused:1 AS unused
FROM build:1 AS Build
RUN N=3; echo $((1<<N)) <<<word
FROM tools:1 AS tools
FROM build AS x-{arch}
COPY --from=tools /a /a
FROM x-${{TARGETARCH}} AS last
COPY --from=other:1 /b /b
"""


def test_issue9_c16_only_images_of_stages_that_are_needed():
    source = STAGES.format(arch=get_architecture())
    assert list(parse.find_bases(source, {})) == ["build:1", "tools:1", "other:1"]
    assert list(parse.find_bases(source, {}, "BUILD")) == ["build:1"]
    assert list(parse.find_bases(source, {}, "0")) == ["unused:1"]


@pytest.mark.parametrize(
    "line",
    ["RUN echo $((1<<N))", "RUN cat <<<word", 'RUN ["sh", "-c", "cat <<END"]', "CMD cat <<END", "RUN echo '<<END'"],
)
def test_issue9_c16_text_that_is_not_a_here_document_hides_nothing(line: str):
    assert list(parse.find_bases(f"FROM a:1 AS a\n{line}\nFROM b:1\nCOPY --from=a /a /\n", {})) == ["a:1", "b:1"]


def test_issue9_c16_here_documents_end_where_docker_ends_them():
    source = "FROM a:1\nRUN <<-'END' cat 3<<OTHER\n\tFROM x:1\n\tEND\nFROM y:1\nOTHER\nCOPY --from=b:1 / /\n"
    assert list(parse.find_bases(source, {})) == ["a:1", "b:1"]


@pytest.mark.parametrize(
    ("written", "values", "meant"),
    [
        ("${A:-${D}}", {"D": "d"}, "d"),
        ("${A:-${D}}", {"A": "a", "D": "d"}, "a"),
        ("x-${A:+${D}-}y", {"A": "a", "D": "d"}, "x-d-y"),
        ("${A:-${B:-${C:-deep}}}:1", {}, "deep:1"),
    ],
)
def test_issue9_c16_variables_in_defaults(written: str, values: dict[str, str], meant: str):
    assert parse.expand_variables(written, values) == meant


def test_issue9_c16_what_buildah_reads_otherwise_is_rewritten():
    written = (
        'FROM a AS Build\nSHELL ["/bin/bash", "-c"]\nCMD one \\\n  two\nFROM build\nENTRYPOINT x\n'
        "COPY --link --from=BUILD a b\nRUN --mount=type=bind,from=Build,target=/x y\n"
        "COPY <<END /c\nCOPY --link a\nEND\n"
    )
    assert adapt_dockerfile(written).splitlines() == [
        "FROM a AS build",
        'SHELL ["/bin/bash", "-c"]',
        'CMD ["/bin/bash", "-c", "one   two"]',
        "",
        "FROM build",
        'ENTRYPOINT ["/bin/bash", "-c", "x"]',
        "COPY  --from=build a b",
        "RUN --mount=type=bind,from=build,target=/x y",
        "COPY <<END /c",
        "COPY --link a",
        "END",
    ]
    plain = "FROM a AS b\nCMD x\nCOPY --from=b a b\n"
    assert adapt_dockerfile(plain) == plain


def test_issue9_c16_add_of_a_repository_is_refused():
    with pytest.raises(BakeFailed, match="Dockerfile:2: ADD of a git repository"):
        check_supported("FROM a\nADD --keep-git-dir=true https://example.org/x.git#v1 /x\n", "Dockerfile")
    check_supported("FROM a\nADD https://example.org/x.tar.gz local.git /x.git\n", "Dockerfile")
