"""Hostile image archives: each raises one error with a remedy, and the store stays empty."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.hostile_layers import END, directory, entry, hardlink, symlink

from devbox.errors import DevboxError
from devbox.host.paths import Paths
from devbox.images.archive import contents
from devbox.images.archive.importer import import_images
from devbox.images.store import layout
from devbox.images.store.manifest import get_architecture

DEEP = b"[" * 100_000
LAYER = entry("file", b"content") + END


def digest(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def described(raw: bytes, kind: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(raw), "size": len(raw), **more}


def blob(raw: bytes, *, name: str = "") -> bytes:
    return entry(f"blobs/sha256/{name or digest(raw)[7:]}", raw)


CONFIG = json.dumps(
    {"architecture": get_architecture(), "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(LAYER)]}}
).encode()


def manifest(**other: Any) -> bytes:
    plain = {"schemaVersion": 2, "mediaType": layout.MANIFEST, "config": described(CONFIG, layout.CONFIG)}
    return json.dumps(plain | {"layers": [described(LAYER, layout.LAYER)]} | other).encode()


def index(*listed: dict[str, Any]) -> bytes:
    return entry("index.json", json.dumps({"schemaVersion": 2, "manifests": list(listed)}).encode())


def top(raw: bytes, **other: Any) -> bytes:
    return index(described(raw, layout.MANIFEST) | other)


WHOLE = blob(CONFIG) + blob(LAYER)
GOOD = manifest()


def docker(files: bytes = b"", **fields: Any) -> bytes:
    listed = [{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["l.tar"], **fields}]
    return files + entry("manifest.json", json.dumps(listed).encode()) + END


def nested(depth: int) -> bytes:
    """An index of an index of an index …"""
    made, raw, kind = blob(GOOD) + WHOLE, GOOD, layout.MANIFEST
    for _ in range(depth):
        place = {"architecture": get_architecture(), "os": "linux"}
        raw = json.dumps({"mediaType": layout.INDEX, "manifests": [described(raw, kind, platform=place)]}).encode()
        made, kind = made + blob(raw), layout.INDEX
    return made + index(described(raw, kind)) + END


CASES: dict[str, bytes] = {
    "nothing": b"",
    "no tar": b"#!/bin/sh\n" * 200,
    "no image": directory("etc") + entry("etc/passwd", b"root") + END,
    "an empty index": index() + END,
    "an index that is no JSON": entry("index.json", b"{") + END,
    "a deep index": entry("index.json", DEEP) + END,
    "a large index": entry("index.json", b" " * 5_000_000) + END,
    "a digest that leads out": top(GOOD, digest="sha256:../../../../etc/passwd") + WHOLE + blob(GOOD) + END,
    "another digest": top(GOOD, digest=f"sha512:{'0' * 128}") + WHOLE + blob(GOOD) + END,
    "a missing manifest": top(GOOD) + WHOLE + END,
    "a lying manifest": top(GOOD) + WHOLE + blob(GOOD + b" ", name=digest(GOOD)[7:]) + END,
    "a lying layer": top(GOOD) + blob(GOOD) + blob(CONFIG) + blob(LAYER + LAYER, name=digest(LAYER)[7:]) + END,
    "a missing layer": top(GOOD) + blob(GOOD) + blob(CONFIG) + END,
    "a lying size": top(GOOD, size=1) + WHOLE + blob(GOOD) + END,
    "a large config": blob(bad := manifest(config=described(CONFIG, layout.CONFIG, size=1 << 40)))
    + top(bad)
    + WHOLE
    + END,
    "a link for a layer": top(GOOD)
    + blob(GOOD)
    + blob(CONFIG)
    + symlink(f"blobs/sha256/{digest(LAYER)[7:]}", "/etc/passwd")
    + END,
    "a hard link for a layer": top(GOOD)
    + blob(GOOD)
    + blob(CONFIG)
    + hardlink(f"blobs/sha256/{digest(LAYER)[7:]}", "/etc/passwd")
    + END,
    "a device": top(GOOD) + WHOLE + blob(GOOD) + entry("dev", kind=b"3") + END,
    "two things of one name": entry("index.json", b"{}") + top(GOOD) + WHOLE + blob(GOOD) + END,
    "too deep": nested(6),
    "cut off": (top(GOOD) + WHOLE + blob(GOOD))[:-600],
    "damaged gzip": gzip.compress(top(GOOD) + WHOLE + blob(GOOD) + END)[:-20] + b"\0" * 20,
    "a bomb": gzip.compress(entry("index.json", bytes(300 << 20)) + END, 9),
    "docker: no list": entry("manifest.json", b"{}") + END,
    "docker: a config out of it": docker(Config="../../../etc/passwd"),
    "docker: a layer out of it": docker(entry("c.json", CONFIG), Layers=["/etc/passwd"]),
    "docker: a layer of another type": docker(entry("c.json", CONFIG), Layers=[7]),
    "docker: a link out of it": docker(entry("c.json", CONFIG) + symlink("l.tar", "../../../etc/passwd")),
    "docker: another layer": docker(entry("c.json", CONFIG) + entry("l.tar", b"other")),
    "docker: a layer too many": docker(entry("c.json", CONFIG) + entry("l.tar", LAYER), Layers=["l.tar", "l.tar"]),
}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "home"), str(tmp_path / "run"))


def take(paths: Paths, raw: bytes) -> None:
    file = Path(paths.home).parent / "archive.tar"
    file.write_bytes(raw)
    import_images(str(file), paths=paths, name=None, on_transfer=lambda _: None)


def test_the_good_one_comes_in(paths: Paths):
    take(paths, top(GOOD) + WHOLE + blob(GOOD) + END)
    assert len(os.listdir(f"{paths.oci}/blobs/sha256")) == 3


@pytest.mark.parametrize("case", CASES)
def test_refused_with_a_remedy_and_nothing_kept(paths: Paths, case: str):
    with pytest.raises(DevboxError) as caught:
        take(paths, CASES[case])
    assert caught.value.remedy
    assert len(caught.value.sentence) < 500
    assert not os.path.exists(paths.oci)
    assert not os.listdir(paths.tmp)


def test_more_files_than_an_image_has(paths: Paths, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(contents, "MOST_FILES", 50)
    with pytest.raises(DevboxError, match="more than 50"):
        take(paths, b"".join(entry(str(number)) for number in range(60)) + END)


def links(place: Path) -> None:
    (place / "blobs/sha256" / digest(LAYER)[7:]).symlink_to("/etc/passwd")


def pipes(place: Path) -> None:
    os.mkfifo(place / "blobs/sha256" / digest(LAYER)[7:])


@pytest.mark.parametrize("put", [links, pipes])
def test_a_directory_that_is_a_link(paths: Paths, tmp_path: Path, put: Callable[[Path], None]):
    place = tmp_path / "layout"
    (place / "blobs/sha256").mkdir(parents=True)
    for raw in (GOOD, CONFIG):
        (place / "blobs/sha256" / digest(raw)[7:]).write_bytes(raw)
    (place / "index.json").write_text(json.dumps({"manifests": [described(GOOD, layout.MANIFEST)]}))
    put(place)
    with pytest.raises(DevboxError) as caught:
        import_images(str(place), paths=paths, name=None, on_transfer=lambda _: None)
    assert caught.value.remedy
    assert not os.path.exists(paths.oci)
