"""Generated registries and layouts: every answer leads to an image or to one clear error."""

from __future__ import annotations

import contextlib
import json
import shutil
import socketserver
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st
from support import layouts
from support.fuzzing import LENGTHS, fuzz

from devbox.errors import DevboxError, RegistryError
from devbox.host.paths import Paths
from devbox.images import gc, inspect, verify
from devbox.images.archive import importer as intake
from devbox.images.reachable import Roots
from devbox.images.registry import connection, errors, pull, reference
from devbox.images.registry.push import push
from devbox.images.store.layout import INDEX, Layout

# What an odd answer leaves open is closed with its pool, some time later.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
ODD = st.sampled_from(
    [
        "",
        "Bearer",
        'Bearer realm="http://[::bad/token",service="x"',
        'Bearer realm="{url}/token",service="\xe9"',
        'Bearer realm="{url}/token"',
        'Bearer realm="',
        "Bearer ,=,=",
        'Basic realm="x',
        "http://[::bad",
        "http://[::1",
        "//",
        "http://",
        "http://host:port/",
        "http://127.0.0.1:99999/",
        "{url}/v2/team/app/blobs/\xff",
        "/v2/../../x y",
        "\x1b[2J",
        "-1",
        "9" * 40,
        "\u00b2",
        "1e3",
        "bytes 5-",
        "bytes \u00b2-9/10",
        "bytes 99-9/10",
        "gzip",
        "chunked",
        "sha256:zz",
        "application/vnd.oci.image.index.v1+json",
        "text/\xff;charset=\xe9",
    ]
)
NAMES = st.sampled_from(
    [
        "WWW-Authenticate",
        "Location",
        "Content-Type",
        "Content-Length",
        "Content-Range",
        "Content-Encoding",
        "Transfer-Encoding",
        "Docker-Content-Digest",
        "Retry-After",
        "OCI-Subject",
        "Connection",
        "Set-Cookie",
        "Link",
    ]
)
# Not those that say "try again later": each would only be tried again, after a while.
STATUSES = st.sampled_from([100, 200, 200, 200, 201, 202, 204, 206, 301, 302, 307, 400, 401, 401, 403, 404, 405, 416])
BODIES = st.sampled_from(
    [b"", b"{}", b"[]", b"null", b'{"token":1}', b'{"token":"\xff"}', b'{"token":"a\\nb"}', b"\0" * 9, b"9" * 5000]
)


class Answer(NamedTuple):
    """One wrong answer; `body` None for the correct body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


ANSWERS = st.builds(
    Answer,
    STATUSES,
    st.lists(st.tuples(NAMES, ODD), max_size=3, unique_by=lambda pair: pair[0]).map(tuple),
    st.none() | BODIES,
)
# Which of the requests gets it: by their order, or every one.
SCRIPTS = st.dictionaries(st.integers(0, 6), ANSWERS, min_size=1, max_size=3) | ANSWERS.map(lambda one: {-1: one})


class _Registry(socketserver.ThreadingTCPServer):
    """Answers a request by its script, otherwise as a correct registry."""

    daemon_threads = True

    def __init__(self, oci: Layout, top: str) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.oci, self.top = oci, top
        self.script: dict[int, Answer] = {}
        self.asked = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client may close the connection."""


class _Request(socketserver.StreamRequestHandler):
    server: _Registry

    def handle(self) -> None:
        if self.rfile.peek(1)[:1] == b"\x16":  # TLS, which it does not speak
            self.wfile.write(b"HTTP/1.1 400 x\r\n\r\n")
            return
        line = self.rfile.readline().decode("latin-1").split(" ")
        length = 0
        while (header := self.rfile.readline().strip()) != b"":
            if header.lower().startswith(b"content-length:"):
                length = int(header.partition(b":")[2])
        self.rfile.read(length)
        if len(line) < 2 or "%" in line[0]:
            return
        status, headers, body = self._good(line[0], line[1])
        script = self.server.script
        odd = script.get(self.server.asked) or script.get(-1)
        self.server.asked += line[1] != "/v2/"
        if odd:
            status = odd.status
            headers |= dict(odd.headers)
            body = body if odd.body is None else odd.body
        if "Content-Length" not in headers:
            headers["Content-Length"] = str(len(body))
        said = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        said = said.replace("{url}", f"http://{self.server.host}")
        head = f"HTTP/1.1 {status} x\r\n{said}Connection: close\r\n\r\n".encode("latin-1", "replace")
        self.wfile.write(head + (b"" if line[0] == "HEAD" else body))

    def _good(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        oci = self.server.oci
        if method in ("POST", "PATCH", "PUT"):
            place = {"POST": 202, "PATCH": 202, "PUT": 201}[method]
            return place, {"Location": "/v2/team/app/blobs/uploads/1"}, b""
        if path.startswith("/token"):
            return 200, {"Content-Type": "application/json"}, b'{"token":"t"}'
        desired = path.rpartition("/")[2]
        digest = self.server.top if desired == "1" else desired
        raw = oci.read_raw(digest) if digest.startswith("sha256:") and len(digest) == 71 else None
        if raw is None:
            return (200 if path == "/v2/" else 404), {}, b"{}"
        kind = ""
        with contextlib.suppress(ValueError):
            kind = str(json.loads(raw).get("mediaType", ""))
        return 200, {"Content-Type": kind or "application/octet-stream", "Docker-Content-Digest": digest}, raw


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Registry]:
    """A registry of one small image."""
    place = tmp_path_factory.mktemp("odd")
    oci = Layout(str(place / "oci"), lock=str(place / "lock"))
    server = _Registry(oci, layouts.image(oci, size=100).digest)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@LENGTHS
def test_issue9_c17_registries(seconds: float, served: _Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", "/nonexistent")
    for name in ("_FIRST_PAUSE", "_LONGEST_PAUSE", "MAX_RETRY_AFTER"):  # nothing gets better by waiting here
        monkeypatch.setattr(errors, name, 0.0)
    monkeypatch.setattr(connection.RETRIES, "backoff_max", 0.0)

    def check(script: dict[int, Answer]) -> None:
        with _store() as (paths, oci):
            desired = reference.parse(f"{served.host}/team/app:1")
            served.script, served.asked = script, 0
            _one_error(lambda: pull.pull(desired, oci=oci, paths=paths, on_transfer=_nothing, all_platforms=True))
            served.asked = 0
            top = layouts.image(oci, size=100, seed=2)
            _one_error(lambda: push(top, desired, oci=oci, paths=paths, on_transfer=_nothing))

    fuzz(check, SCRIPTS, count=200, seconds=seconds)


@pytest.mark.parametrize(
    ("status", "header", "value", "said"),
    [
        (401, "WWW-Authenticate", "Bearer ,=,=", "untrusted address"),
        (401, "WWW-Authenticate", 'Bearer realm="http://[::bad/t"', "malformed"),
        (307, "Location", "http://[::bad", "malformed"),
        (200, "Content-Type", "application/vnd.oci.image.index.v1+json", "unsupported type: x"),
    ],
)
def test_issue9_c17_malformed_headers(
    status: int, header: str, value: str, said: str, served: _Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", "/nonexistent")
    served.script, served.asked = {-1: Answer(status, ((header, value),), b'{"mediaType":"x"}')}, 0
    with _store() as (paths, oci), pytest.raises(RegistryError, match=said):
        pull.pull(reference.parse(f"{served.host}/team/app:1"), oci=oci, paths=paths, on_transfer=_nothing)


def test_issue9_c17_an_index_without_manifests(served: _Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", "/nonexistent")
    served.script, served.asked = {-1: Answer(200, (("Content-Type", INDEX),), b'{"manifests":[]}')}, 0
    with _store() as (paths, oci), pytest.raises(RegistryError, match="index without manifests"):
        pull.pull(reference.parse(f"{served.host}/team/app:1"), oci=oci, paths=paths, on_transfer=_nothing)


NAMES_OF_FILES = st.sampled_from(["index.json", "oci-layout", "blobs/sha256/x y", "blobs/sha256/\udcff"])
CHANGES = st.lists(
    st.tuples(st.integers(0, 7) | NAMES_OF_FILES, st.binary(max_size=4) | BODIES, st.integers(0, 2000)), max_size=3
)


@LENGTHS
def test_issue9_c17_layouts(seconds: float) -> None:
    """Use the layout as an import, and as the store itself."""

    def check(changes: list[tuple[int | str, bytes, int]]) -> None:
        with _store() as (paths, oci):
            oci.set_ref("team/app:1", layouts.image(oci, size=100))
            for name, data, at in changes:
                _change(Path(oci.root), name, data, at)
            other = Paths(f"{paths.home}/other", f"{paths.home}/run")
            _one_error(lambda: intake.import_images(oci.root, paths=other, name=None, on_transfer=_nothing))
            _one_error(lambda: inspect.list_images(paths))
            _one_error(lambda: gc.find_garbage(paths, Roots()))
            _one_error(lambda: verify.verify(paths, lambda: None))
            _one_error(lambda: gc.collect(paths, Roots, lambda: None))

    fuzz(check, CHANGES, count=150, seconds=seconds)


def _change(root: Path, name: int | str, data: bytes, at: int) -> None:
    """Put bytes into a file of a layout, at a place in it; a number means one of the blobs there are."""
    path = root / str(name)
    if isinstance(name, int):
        blobs = sorted(each for each in (root / "blobs/sha256").iterdir() if each.is_file())
        path = blobs[name % len(blobs)]
    if path.is_dir():
        (path / "odd").mkdir(exist_ok=True)
        return
    raw = path.read_bytes() if path.exists() else b""
    at = at % (len(raw) + 1)
    path.write_bytes(raw[:at] + data + raw[at + len(data) :])


@contextlib.contextmanager
def _store() -> Iterator[tuple[Paths, Layout]]:
    place = tempfile.mkdtemp(prefix="devbox-odd-")
    try:
        paths = Paths(f"{place}/home", f"{place}/run")
        oci = Layout(paths.oci, lock=paths.lock("oci-index"))
        oci.create()
        yield paths, oci
    finally:
        shutil.rmtree(place)


def _one_error(work: Callable[[], object]) -> None:
    """Run an action; it may fail only with a DevboxError of one line."""
    said = _sentence(work)
    assert said
    assert said.isprintable(), said


def _sentence(work: Callable[[], object]) -> str:
    try:
        work()
    except DevboxError as error:
        return error.sentence
    return "done"


def _nothing(_: object) -> None:
    """No progress."""
