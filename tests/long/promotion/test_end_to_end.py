"""A release from end to end with real containers: built, signed, approved and promoted, then run on another host."""

from __future__ import annotations

import hashlib
import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import keyed
from support.cosign import Cosign
from support.machine import Box, destroy, make_box
from support.registry import Registry, registry

from devbox.attest import keys, statements

pytestmark = [pytest.mark.long, pytest.mark.scenario]

STAGES = """
[stage.test]
repository = "HOST/shop/test"
env = { STAGE = "test" }

[stage.staging]
repository = "HOST/shop/staging"
env = { STAGE = "staging" }
gates = [{ kind = "signature" }, { kind = "provenance" }, { kind = "sbom", deny = ["log4j"] }]

[stage.production]
repository = "HOST/shop/production"
env = { STAGE = "production" }
gates = [{ kind = "signature" }, { kind = "approval", from = ["ann"] }]
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Registry]:
    (tmp_path / "registry").mkdir()
    with registry(tmp_path / "registry", tls=False, password=False) as made:
        yield made


@pytest.fixture
def machines() -> Iterator[tuple[Box, Box]]:
    made = make_box("root-crun"), make_box("root-crun")
    yield made
    for box in made:
        destroy(box)


def _text(host: str) -> str:
    return keyed.text("test", "staging", "production", more=STAGES.replace("HOST", host))


def _promote(box: Box, path: Path, stage: str, env: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = json.loads(box.ok("promote", stage, "--json", cwd=path, env=env))
    with urllib.request.urlopen(found["address"], timeout=10) as answer:
        assert answer.read().decode() == f"{stage}\n"
    return found


def test_one_digest_from_the_build_to_another_host_s_production(
    machines: tuple[Box, Box], served: Registry, tmp_path: Path
):
    builder, other = machines
    env = {"DEVBOX_INSECURE_REGISTRIES": served.host}
    path = keyed.project(builder, _text(served.host))
    built = json.loads(builder.ok("build", "--json", "--key", "ci", cwd=path))
    for stage in ("test", "staging"):
        assert _promote(builder, path, stage, env)["digest"] == built["digest"]
    assert builder.run("promote", "production", cwd=path, env=env).returncode == 1
    builder.ok("approve", "production", "--key", "ann", cwd=path, env=env)

    far = other.project(_text(served.host), "shop")
    shutil.copytree(path / "keys", far / "keys")
    told = {each["subject"]: each["verdict"] for each in json.loads(_why(other, far, env))}
    assert set(told.values()) == {"pass"}
    assert _promote(other, far, "production", env)["digest"] == built["digest"]
    rows = json.loads(other.ok("ps", "--stage", "production", "--json", cwd=far))
    assert {row["digest"] for row in rows if row["name"].startswith("web-")} == {built["digest"]}
    assert json.loads(other.ok("verify", built["digest"], "--json", cwd=far, env=env))["verified"]

    cosign, public = Cosign(tmp_path), (path / "keys/ci.pub").read_text()
    key = keys.read_public(public, where="ci.pub")
    for stage in ("test", "staging", "production"):
        exact = f"{served.host}/shop/{stage}@{built['digest']}"
        raw = urllib.request.urlopen(_manifest(served.host, stage, built["digest"]), timeout=10).read()
        assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == built["digest"]
        assert cosign.verifies(exact, key)
        assert cosign.verifies(exact, key, type_="slsaprovenance1")
        assert cosign.verifies(exact, key, type_="spdxjson")
    record = f"{served.host}/shop/staging@{built['digest']}"
    assert cosign.verifies(record, key, type_=statements.PROMOTION)
    ann = keys.read_public((path / "keys/ann.pub").read_text(), where="ann.pub")
    assert cosign.verifies(f"{served.host}/shop/production@{built['digest']}", ann, type_=statements.APPROVAL)
    assert not cosign.verifies(record, ann, type_=statements.PROMOTION)


def _why(box: Box, path: Path, env: dict[str, str]) -> str:
    return box.ok("why", "production", "--json", cwd=path, env=env)


def _manifest(host: str, stage: str, digest: str) -> urllib.request.Request:
    accepted = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"
    return urllib.request.Request(f"http://{host}/v2/shop/{stage}/manifests/{digest}", headers={"Accept": accepted})
