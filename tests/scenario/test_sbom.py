"""SBOMs: they match the package managers' own lists, are valid in both formats, and accompany the image."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
from support import sbom as reader
from support.machine import Box
from support.registry import Registry, registry

from devbox.images.sbom.documents import Sbom
from devbox.images.store import layout

pytestmark = pytest.mark.scenario

PYTHON = """
[project]
name = "billed"

[base.py]
recipe = "python"

[dev]
from = "py"
run = ["pip install --no-compile --no-cache-dir six==1.17.0 idna==3.10"]
"""
NODE = """
[dev]
recipe = "node"
run = ["npm install -g left-pad@1.3.0"]
"""


def bill(box: Box, project: Path, form: str = "spdx") -> tuple[bytes, Sbom]:
    raw = box.ok("image", "sbom", "dev", "--format", form, cwd=project).encode()
    return raw, reader.parse_sbom(raw)


def said(box: Box, project: Path, *argv: str) -> str:
    return box.ok("run", "--", *argv, cwd=project)


def by_dpkg(box: Box, project: Path) -> set[tuple[str, str]]:
    lines = said(box, project, "dpkg-query", "-W", "-f", "${db:Status-Status} ${Package} ${Version}\\n").splitlines()
    return {(name, version) for status, name, version in map(str.split, lines) if status == "installed"}


def test_it_lists_what_dpkg_and_pip_list(box: Box, tmp_path: Path):
    project = box.project(PYTHON)
    debs = by_dpkg(box, project)
    pips = {(each["name"], each["version"]) for each in json.loads(said(box, project, "pip", "list", "--format=json"))}
    before = json.loads(box.ok("image", "inspect", "dev", cwd=project))
    raw, found = bill(box, project)
    assert {(each.name, each.version) for each in found.packages if each.type == "deb"} == debs
    assert {(each.name, each.version) for each in found.packages if each.type == "pypi"} == pips
    assert {"six", "idna", "pip"} <= {name for name, _ in pips}
    assert found.image == before["digest"]

    path = tmp_path / "bill.spdx.json"
    path.write_bytes(raw)
    assert validate_full_spdx_document(parse_file(str(path))) == []
    also, same = bill(box, project, "cyclonedx")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(also.decode()) is None
    assert same == found
    assert bill(box, project)[0] == raw

    after = json.loads(box.ok("image", "inspect", "dev", cwd=project))
    kinds = [each["artifactType"] for each in after.pop("referrers")]
    assert sorted(kinds) == ["application/spdx+json", "application/vnd.cyclonedx+json"]
    assert before.pop("referrers") == []
    assert after == before
    box.ok("image", "verify", cwd=project)
    unneeded = json.loads(box.ok("image", "gc", "--dry-run", "--json", cwd=project))["names"]
    assert not set(unneeded) & set(before["names"]), "the bills need no name to stay"


@pytest.mark.long
def test_it_lists_what_npm_lists(box: Box):
    project = box.project(NODE)
    listed = json.loads(said(box, project, "npm", "ls", "--global", "--all", "--json"))
    found = {(each.name, each.version) for each in bill(box, project)[1].packages if each.type == "npm"}
    desired = set(_dependencies(listed))
    assert ("left-pad", "1.3.0") in desired
    assert desired <= found
    assert {name for name, _ in found} <= {name for name, _ in desired} | {"npm"}


@pytest.fixture
def served(tmp_path: Path):
    with registry(tmp_path, tls=False, password=False) as made:
        yield made


def test_a_push_takes_it_along(box: Box, served: Registry):
    project = box.project('[dev]\nrecipe = "debian"\n')
    box.ok("up", cwd=project)
    there = f"{served.host}/team/app:1"
    box.ok("image", "push", "dev", there, cwd=project)
    told = json.loads(box.ok("image", "inspect", "dev", cwd=project))
    listed = fallback(served, "team/app", told["digest"])
    assert {each["digest"] for each in listed} == {each["digest"] for each in told["referrers"]}
    assert {each["artifactType"] for each in listed} == {"application/spdx+json", "application/vnd.cyclonedx+json"}
    again = json.loads(box.ok("image", "push", "dev", there, "--json", cwd=project))
    assert again["sent"] == 0


def fallback(served: Registry, repository: str, digest: str) -> list[dict[str, str]]:
    """The list at the fallback tag of a registry without the referrers API."""
    url = f"http://{served.host}/v2/{repository}/manifests/{digest.replace(':', '-')}"
    request = urllib.request.Request(url, headers={"Accept": layout.INDEX})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)["manifests"]


def _dependencies(plain):
    for name, each in plain.get("dependencies", {}).items():
        if "version" in each:
            yield name, each["version"]
        yield from _dependencies(each)
