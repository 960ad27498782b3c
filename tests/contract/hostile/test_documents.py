"""Hostile manifests, indexes and configs: each raises one clear error, and none leads to a path or a process."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from devbox.errors import DevboxError, RegistryError
from devbox.images.registry import graph
from devbox.images.store import documents, layout
from devbox.images.store.layout import Descriptor, Layout
from devbox.images.store.manifest import parse_run_config
from devbox.model.container import Health
from devbox.model.image import ImageConfig

DIGEST = f"sha256:{'a' * 64}"
BLOB = {"mediaType": layout.CONFIG, "digest": DIGEST, "size": 5}
MANIFEST = {"schemaVersion": 2, "mediaType": layout.MANIFEST, "config": BLOB, "layers": [BLOB]}
INDEX = {"schemaVersion": 2, "mediaType": layout.INDEX, "manifests": [BLOB]}
BAD_DIGESTS = [
    *("sha256:../../x", f"sha256:{'A' * 64}", f"sha256:{'a' * 63}", f"sha256:{'a' * 64}\n", f"sha512:{'a' * 128}"),
    *(f"../{'a' * 64}", f"sha256/{'a' * 64}", "a" * 64, "", None, 5, [DIGEST], {"a": 1}),
]
BAD_SIZES = [-1, 1.5, True, "5", None, 1 << 63, [5]]
BAD_TEXTS = {
    "nothing": (b"", "not JSON"),
    "half of it": (b'{"config": ', "not JSON"),
    "not a table": (b"[]", "expected a table, got a list"),
    "UTF-16": ("{}".encode("utf-16"), "not UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "not JSON"),
    "too large": (b'{"a": "' + b"x" * documents.LIMIT + b'"}', "larger than 4 MiB"),
    "deep lists": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "levels deep"),
    "deep tables": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "levels deep"),
    "a little too deep": (b'{"a":' * 65 + b"1" + b"}" * 65, "levels deep"),
    "a key twice": (b'{"config": {"digest": "x", "digest": "y"}}', "duplicate key 'digest'"),
    "no number": (b'{"a": NaN}', "NaN is not a JSON number"),
    "a number without end": (b'{"a": ' + b"9" * 100_000 + b"}", "digits"),
    "half a character": (b'{"a": ["\\ud800"]}', "is not valid text"),
    "NUL in a key": (b'{"a": {"\\u0000": 1}}', "is not valid text"),
}


def refusal(plain: Any, media_type: str = layout.MANIFEST, *, raw: bytes = b"", size: int | None = None) -> str:
    """devbox's error for a manifest, which must be refused."""
    raw = raw or json.dumps(plain).encode()
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    with pytest.raises(RegistryError) as refused:
        graph.parse_node(Descriptor(media_type, digest, len(raw) if size is None else size), raw)
    said = refused.value.render()
    assert digest in said
    assert len(said) < 500
    assert len(said.splitlines()) == 2
    assert said.replace("\n", "").isprintable()
    return said


@pytest.mark.parametrize("name", BAD_TEXTS)
def test_an_invalid_document(name: str) -> None:
    raw, why = BAD_TEXTS[name]
    if raw:
        assert why in refusal(None, raw=raw)
    with pytest.raises(ValueError, match=why):
        documents.parse(raw)


class _Name(str):
    """A key that counts how often it is compared."""

    __slots__ = ()
    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        _Name.compared += 1
        return str.__eq__(self, other)


def test_issue10_1_a_key_that_is_there_twice_is_found_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 MiB of keys of which the last two are the same: each was compared with all others, for an hour."""
    monkeypatch.setattr(_Name, "compared", 0)
    names = [_Name(f"key{number}") for number in range(2000)]

    with pytest.raises(ValueError, match="duplicate key 'last'"):
        documents._build_table([(name, 1) for name in (*names, _Name("last"), _Name("last"))])

    assert _Name.compared < 2 * len(names)


@pytest.mark.parametrize("digest", BAD_DIGESTS, ids=repr)
def test_invalid_digests(digest: Any, tmp_path: Path) -> None:
    """A digest becomes a path, and a part of an address."""
    bad = {**BLOB, "digest": digest}
    for plain in ({**MANIFEST, "config": bad}, {**MANIFEST, "layers": [BLOB, bad]}, {**MANIFEST, "subject": bad}):
        assert "is not a sha256 digest" in refusal(plain)
    assert "is not a sha256 digest" in refusal({**INDEX, "manifests": [bad]}, layout.INDEX)
    if isinstance(digest, str):
        oci = Layout(str(tmp_path), lock=str(tmp_path / "lock"))
        for look in (oci.get_blob_path, oci.has_blob, oci.read_raw, oci.read_json):
            with pytest.raises(RegistryError, match="is not a sha256 digest"):
                look(digest)


@pytest.mark.parametrize("size", BAD_SIZES, ids=repr)
def test_sizes_that_are_none(size: Any) -> None:
    bad = {**BLOB, "size": size}
    assert "is not a size" in refusal({**MANIFEST, "layers": [bad]})
    assert "is not a size" in refusal({**INDEX, "manifests": [bad]}, layout.INDEX)


@pytest.mark.parametrize("key", ["config", "layers", "subject", "mediaType"])
@pytest.mark.parametrize("value", [5, "text", True, [5], ["x"], {"a": []}], ids=repr)
def test_wrong_types_in_a_manifest(key: str, value: Any) -> None:
    refusal({**MANIFEST, key: value})


@pytest.mark.parametrize("value", [5, "text", {"a": 1}, [5], [[]], [{}], [{**BLOB, "platform": 5}]], ids=repr)
def test_wrong_types_in_an_index(value: Any) -> None:
    refusal({**INDEX, "manifests": value}, layout.INDEX)


def test_what_is_announced_and_sent_must_agree() -> None:
    assert "expected 5 bytes" in refusal(MANIFEST, size=5)
    assert "expected the type" in refusal({**MANIFEST, "mediaType": layout.INDEX})
    assert "expected the type" in refusal(INDEX, layout.MANIFEST)
    assert "both a manifest and an index" in refusal({**MANIFEST, "manifests": [BLOB]})
    assert "both a manifest and an index" in refusal({**INDEX, "layers": [BLOB]}, layout.INDEX)
    assert "unsupported type: text/html" in refusal(MANIFEST, "text/html")
    assert "unsupported type: none" in refusal(MANIFEST, "")
    assert "config of" in refusal({**MANIFEST, "config": {**BLOB, "size": documents.LIMIT + 1}})


@pytest.mark.parametrize("value", [5, "text", True, [5], {"a": 5}, [[]], -1, 1 << 70, 1.5], ids=repr)
def test_configs_of_wrong_types_say_nothing(value: Any) -> None:
    unsaid = parse_run_config({})
    texts = isinstance(value, str)
    for key in ("Env", "Entrypoint", "Cmd", "Healthcheck", *(() if texts else ("User", "WorkingDir", "StopSignal"))):
        assert parse_run_config({key: value}) == unsaid
    if not isinstance(value, dict):
        assert parse_run_config(value) == parse_run_config({"ExposedPorts": value}) == unsaid
    if not (type(value) is int and value == 5):
        probe = {"Test": ["CMD", "x"], "Interval": value, "Timeout": value, "Retries": value, "StartPeriod": value}
        assert parse_run_config({"Healthcheck": probe}).health == Health(command=("x",))
    assert parse_run_config({"Healthcheck": {"Test": ["CMD-SHELL"]}}) == unsaid
    assert isinstance(unsaid, ImageConfig)


@pytest.mark.parametrize(
    "entries",
    [5, [5], [{**BLOB, "digest": "sha256:../../x"}], [{**BLOB, "annotations": 5}], [{**BLOB, "size": -1}]],
    ids=repr,
)
def test_an_index_of_a_layout(entries: Any, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))
    oci = Layout(str(tmp_path), lock=str(tmp_path / "lock"))
    for look in (oci.read_refs, oci.list_unnamed):
        with pytest.raises(DevboxError, match=r"invalid image index .*index\.json"):
            look()
