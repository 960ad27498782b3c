"""Forbidden packages in an image: by name, version, package URL, source package, licence."""

from __future__ import annotations

import pytest

from devbox.images.sbom.documents import Package, Sbom
from devbox.promotion.gates import sbom
from devbox.promotion.gates.sbom import DeniedPackage, find_denials

SSL = Package("pkg:deb/debian/libssl3@3.0.11-1?arch=amd64&upstream=openssl", "libssl3", "3.0.11-1", "Apache-2.0")
CORE = Package("pkg:npm/%40angular/core@17.0.0", "@angular/core", "17.0.0", "MIT")
BILL = Sbom(image="sha256:1", packages=(SSL, CORE))


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ("libssl3", ["libssl3 3.0.11-1"]),
        ("libssl3@3.0.11-1", ["libssl3 3.0.11-1"]),
        ("libssl3@3.0.12-1", []),
        ("openssl", ["libssl3 3.0.11-1"]),
        ("openssl@3.0.11-1", ["libssl3 3.0.11-1"]),
        ("pkg:deb/debian/libssl3", ["libssl3 3.0.11-1"]),
        ("pkg:deb/debian/libssl3@3.0.11-1?arch=arm64", ["libssl3 3.0.11-1"]),
        ("pkg:deb/ubuntu/libssl3", []),
        ("@angular/core", ["@angular/core 17.0.0"]),
        ("@angular/core@17.0.0", ["@angular/core 17.0.0"]),
        ("@angular/core@16.0.0", []),
        ("pkg:npm/%40angular/core@17.0.0", ["@angular/core 17.0.0"]),
        ("ssl", []),
    ],
)
def test_a_package_is_denied_by_what_it_is_called(text: str, hits: list[str]):
    assert list(find_denials(BILL, [sbom.parse(text)])) == hits


def test_a_list_names_vulnerabilities():
    listed = sbom.read("# of today\n\nCVE-2026-1 openssl@3.0.11-1  # fixed in 3.0.12\nCVE-2026-2 openssl\n")
    assert listed == [DeniedPackage("openssl", "3.0.11-1", "CVE-2026-1"), DeniedPackage("openssl", "", "CVE-2026-2")]
    assert list(find_denials(BILL, listed)) == ["libssl3 3.0.11-1 (CVE-2026-1, CVE-2026-2)"]


def test_a_line_that_is_not_an_entry_is_an_error():
    with pytest.raises(ValueError, match="line 2"):
        sbom.read("CVE-2026-1 openssl\nCVE-2026-2\n")
