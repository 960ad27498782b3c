"""Generated manifests, indexes and configs: each is read as the OCI specification says, or raises RegistryError."""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

from hypothesis import strategies as st
from support.fuzzing import LENGTHS, fuzz

from devbox.errors import RegistryError
from devbox.images.registry import graph
from devbox.images.store import documents, layout
from devbox.images.store.layout import Descriptor
from devbox.images.store.manifest import parse_run_config
from devbox.model import codec
from devbox.model.image import ImageConfig

DIGEST = f"sha256:{'0' * 64}"
BLOB = {"mediaType": layout.CONFIG, "digest": DIGEST, "size": 5}
RUN = {
    "Env": ["PATH=/bin"],
    "Entrypoint": ["/e"],
    "Cmd": ["x"],
    "User": "1",
    "WorkingDir": "/w",
    "StopSignal": "SIGINT",
    "ExposedPorts": {"80/tcp": {}},
    "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5, "Timeout": 5, "Retries": 5, "StartPeriod": 5},
}
GOOD: list[tuple[str, dict[str, Any]]] = [
    (layout.MANIFEST, {"mediaType": layout.MANIFEST, "config": BLOB, "layers": [BLOB, BLOB], "subject": BLOB}),
    (layout.INDEX, {"mediaType": layout.INDEX, "manifests": [{**BLOB, "platform": {"os": "linux"}}, BLOB]}),
    (layout.CONFIG, RUN),
]
WORDS = st.sampled_from(
    ["", "..", "/", "sha256:../../x", DIGEST, DIGEST.upper(), "CMD", "\0", "\ud800", "\x1b[2J", "a\nb", "²", "9", "a=b"]
)
LEAVES: Any = st.one_of(
    WORDS, st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.sampled_from([BLOB, {}])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORDS, inner, max_size=3)),
    max_leaves=5,
)


@st.composite
def sent(draw: st.DrawFn) -> tuple[str, bytes]:
    """A valid document with replaced parts and changed bytes; and its declared media type."""
    kind, good = draw(st.sampled_from(GOOD))
    data = json.loads(json.dumps(good))
    for _ in range(draw(st.integers(0, 3))):
        target = data
        while True:
            key = draw(st.sampled_from(sorted(target) if isinstance(target, dict) else range(len(target))))
            if not (isinstance(target[key], dict | list) and target[key] and draw(st.booleans())):
                break
            target = target[key]
        target[key] = copy.deepcopy(draw(VALUES))  # one that was drawn before would hold itself
    raw = bytearray(json.dumps(data).encode())
    for place, value in draw(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 255)), max_size=2)):
        raw[place % len(raw)] = value
    return kind, bytes(raw)


@LENGTHS
def test_documents(seconds: float) -> None:
    def check(example: tuple[str, bytes]) -> None:
        kind, raw = example
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        if kind == layout.CONFIG:
            _check_config(raw)
            return
        node = _outcome(Descriptor(kind, digest, len(raw)), raw)
        if isinstance(node, RegistryError):
            assert digest in node.sentence
            assert "\n" not in node.sentence
            return
        leads_to = [each.digest for each in (*node.children, *node.blobs)] + [node.subject] * bool(node.subject)
        assert all(map(documents.is_digest, leads_to))
        assert len(node.platforms) == len(node.children)

    fuzz(check, sent(), count=300, seconds=seconds)


def _outcome(descriptor: Descriptor, raw: bytes) -> graph.Node | RegistryError:
    try:
        return graph.parse_node(descriptor, raw)
    except RegistryError as error:
        return error


def _check_config(raw: bytes) -> None:
    try:
        found = parse_run_config(documents.parse(raw))
    except ValueError:
        return
    assert codec.load(ImageConfig, json.loads(json.dumps(codec.dump(found)))) == found
