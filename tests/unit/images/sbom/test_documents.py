"""SBOM documents: valid for the formats' own validators, reproducible, and read back unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
from support import layouts
from support import sbom as reader

from devbox.errors import BakeFailed, UsageError
from devbox.host.paths import Paths
from devbox.images import gc
from devbox.images.reachable import Roots
from devbox.images.sbom import attach, documents
from devbox.images.sbom.documents import Package, Sbom
from devbox.images.store import layout
from devbox.images.store.layout import Descriptor, Layout

BILL = Sbom(
    image=f"sha256:{'a' * 64}",
    created="2025-01-01T00:00:00Z",
    packages=(
        Package(
            "pkg:deb/debian/libstdc%2B%2B6@14.2.0-19?arch=amd64&distro=debian-13&upstream=gcc-14",
            "libstdc++6",
            "14.2.0-19",
            "GPL-3.0-or-later AND (LicenseRef-odd OR MIT)",
        ),
        Package("pkg:npm/%40angular/cli@19.0.0", "@angular/cli", "19.0.0", "MIT"),
        Package("pkg:pypi/six@1.17.0", "six", "1.17.0"),
    ),
)
STATUS = b"Package: bash\nStatus: install ok installed\nVersion: 5\nArchitecture: amd64\n"


def test_the_validator_of_spdx_accepts_it(tmp_path: Path):
    path = tmp_path / "bill.spdx.json"
    path.write_text(json.dumps(documents.write_spdx(BILL)))
    assert validate_full_spdx_document(parse_file(str(path))) == []


def test_the_validator_of_cyclonedx_accepts_it():
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(documents.write_cyclonedx(BILL))) is None


@pytest.mark.parametrize("write", [documents.write_spdx, documents.write_cyclonedx])
def test_what_is_written_is_read_back(write: Any):
    assert reader.parse_sbom(json.dumps(write(BILL)).encode()) == BILL


def test_an_sbom_of_another_tool_is_read():
    plain = {
        "bomFormat": "CycloneDX",
        "components": [
            {"name": "cli", "group": "@angular", "purl": "pkg:npm/%40angular/cli@1", "version": "1", "licenses": []},
            {"name": "a", "purl": "pkg:pypi/a@1", "licenses": [{"license": {"id": "MIT"}}, {"license": {"name": "X"}}]},
            {"name": "a file"},
        ],
    }
    found = reader.parse_sbom(json.dumps(plain).encode()).packages
    assert [(each.name, each.license, each.type) for each in found] == [
        ("@angular/cli", "", "npm"),
        ("a", "MIT AND X", "pypi"),
    ]


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"spdxVersion": "SPDX-2.3", "packages": [{}]}', b"[" * 100_000])
def test_an_invalid_sbom_is_refused(raw: bytes):
    with pytest.raises(BakeFailed, match="invalid SBOM"):
        reader.parse_sbom(raw)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(str(tmp_path / "home"), str(tmp_path / "run"))


def image(paths: Paths, *, platforms: int = 1) -> tuple[Descriptor, Layout]:
    """An image that holds one package of Debian, named as a baked one."""
    oci = Layout(paths.oci, lock=paths.lock("oci-index"))
    own = layouts.manifest(oci, layouts.layer(oci, {"var/lib/dpkg/status": STATUS}))
    children = [(own, layouts.get_architecture())]
    if platforms > 1:
        children.append((layouts.manifest(oci, layouts.layer(oci, {"other": b""}), arch=layouts.OTHER), layouts.OTHER))
    top = layouts.index(oci, *children)
    oci.set_ref("dev-0123456789ab", top)
    return top, oci


def test_a_bill_refers_to_its_image_once(paths: Paths):
    top, oci = image(paths)
    first = attach.attach_sbom(top, paths)
    assert attach.attach_sbom(top, paths) == first
    referring = [oci.read_json(each.digest) for each in oci.list_unnamed()]
    assert {each["artifactType"] for each in referring} == {"application/spdx+json", "application/vnd.cyclonedx+json"}
    assert len(referring) == 2
    assert {each["subject"]["digest"] for each in referring} == {top.digest}
    blobs = {Path(oci.get_blob_path(each["layers"][0]["digest"])).read_bytes() for each in referring}
    assert blobs == set(first.values())
    assert [each.name for each in reader.parse_sbom(first["spdx"]).packages] == ["bash"]


def test_an_index_resolves_to_this_host_s_platform(paths: Paths):
    top, oci = image(paths, platforms=2)
    own = oci.read_json(top.digest)["manifests"][0]["digest"]
    assert reader.parse_sbom(attach.attach_sbom(top, paths)["cyclonedx"]).image == own


def test_equal_images_have_equal_bills_whatever_their_names(paths: Paths, tmp_path: Path):
    other = Paths(str(tmp_path / "other"), str(tmp_path / "run"))
    assert attach.attach_sbom(image(paths)[0], paths) == attach.attach_sbom(image(other)[0], other)


def test_a_bill_is_collected_with_its_image_and_stays_with_it(paths: Paths):
    top, oci = image(paths)
    attach.attach_sbom(top, paths)
    signature = layouts.manifest(oci, layouts.layer(oci, {"signed": b""}), subject=oci.list_unnamed()[1])
    oci.add_unnamed(signature)
    roots = Roots(digests=frozenset({top.digest}))
    assert gc.collect(paths, lambda: roots, lambda: None).blobs == ()
    assert len(oci.list_unnamed()) == 3
    gc.collect(paths, Roots, lambda: None)
    assert oci.list_unnamed() == []
    assert oci.list_digests() == []


def test_only_what_was_baked_here_gets_one_by_itself(paths: Paths):
    top, oci = image(paths)
    pulled = layouts.image(oci)
    oci.set_ref("docker.io/library/x:1", pulled)
    attach.ensure_attached(pulled, paths)
    assert oci.list_unnamed() == []
    attach.ensure_attached(top, paths)
    assert len(oci.list_unnamed()) == 2


def test_an_image_whose_layers_are_missing_has_no_sbom(paths: Paths):
    top, oci = image(paths)
    node = oci.read_json(oci.read_json(top.digest)["manifests"][0]["digest"])
    Path(oci.get_blob_path(node["layers"][0]["digest"])).unlink()
    with pytest.raises(UsageError, match="missing layers"):
        attach.attach_sbom(top, paths)


def test_an_artifact_is_not_listed_as_an_image(paths: Paths):
    top, oci = image(paths)
    attach.attach_sbom(top, paths)
    manifests = [oci.read_json(each.digest) for each in oci.list_unnamed()]
    assert {each["config"]["mediaType"] for each in manifests} == {"application/vnd.oci.empty.v1+json"}
    assert {each["mediaType"] for each in manifests} == {layout.MANIFEST}
