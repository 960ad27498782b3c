"""SBOM types and their SPDX and CycloneDX documents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from devbox.model import ids
from devbox.model.frozen import dataclass

# Part of every document's identity; increment it when an image's SBOM changes.
GENERATOR = "devbox-sbom-1"
LICENSE_REF = "LicenseRef-"  # prefix of licences that are not in SPDX


class Package(NamedTuple):
    """One package in one version.

    `purl` is its identity (package-url.org): `pkg:deb/debian/bash@5.2.37-2?arch=amd64&distro=debian-13`, with the
    source package as `upstream` if different. `license` is an SPDX expression; "" if unknown.
    """

    purl: str
    name: str
    version: str
    license: str = ""

    @property
    def type(self) -> str:
        """The package type: `deb`, `apk`, `pypi`, `npm` or another."""
        return self.purl.removeprefix("pkg:").partition("/")[0]

    @property
    def licenses(self) -> frozenset[str]:
        """All licences in the expression, whether combined by AND or OR."""
        words = self.license.replace("(", " ").replace(")", " ").split()
        named = (word for at, word in enumerate(words) if words[max(at - 1, 0)] != "WITH")
        return frozenset(named) - {"AND", "OR", "WITH"}


@dataclass(frozen=True, kw_only=True)
class Sbom:
    """The packages of one image, sorted and unique. `image` is the described digest; `created` as in OCI."""

    image: str
    packages: tuple[Package, ...]
    created: str = ""


def build_purl(kind: str, name: str, version: str, *, space: str = "", about: Mapping[str, str] | None = None) -> str:
    """Build a package URL with namespace and qualifiers; "" if invalid."""
    from packageurl import PackageURL

    known = {key: value for key, value in (about or {}).items() if value}
    try:
        return PackageURL(kind, space or None, name, version or None, known).to_string()
    except ValueError:
        return ""


def sort_packages(packages: Iterable[Package]) -> tuple[Package, ...]:
    """Return the packages sorted by URL, without duplicates (npm installs copies) and without those lacking a URL."""
    return tuple(package for _, package in sorted({each.purl: each for each in packages if each.purl}.items()))


def describe_scope() -> str:
    """Return one sentence for readers about the scope of an SBOM."""
    return (
        "Packages of dpkg, apk, pip and npm, as the image's own files tell; what was copied in or compiled without "
        "them is not listed."
    )


SPDX_TYPE = "application/spdx+json"
_IMAGE = "SPDXRef-image"
_UNKNOWN = "NOASSERTION"


def build_namespace(bill: Sbom) -> str:
    """Return the document's unique namespace: the image, and the generator."""
    return f"https://spdx.org/spdxdocs/{GENERATOR}-{bill.image.replace(':', '-')}"


def write_spdx(bill: Sbom) -> dict[str, Any]:
    """Build the SPDX document."""
    packages = {_format_id(package): package for package in bill.packages}
    contained = [_relate(_IMAGE, "CONTAINS", name) for name in packages]
    named = {name for package in bill.packages for name in find_license_references(package.license)}
    extracted = [_describe_license(name) for name in sorted(named)]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": bill.image,
        "documentNamespace": build_namespace(bill),
        "comment": describe_scope(),
        "creationInfo": {"created": bill.created, "creators": [f"Tool: {GENERATOR}"]},
        "packages": [_describe_image(bill), *(_describe_package(name, package) for name, package in packages.items())],
        "relationships": [_relate("SPDXRef-DOCUMENT", "DESCRIBES", _IMAGE), *contained],
        **({"hasExtractedLicensingInfos": extracted} if extracted else {}),
    }


def _describe_image(bill: Sbom) -> dict[str, Any]:
    return {
        "SPDXID": _IMAGE,
        "name": "image",
        "versionInfo": bill.image,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{"algorithm": "SHA256", "checksumValue": bill.image.removeprefix("sha256:")}],
        **_describe_unknowns(),
        "licenseDeclared": _UNKNOWN,
    }


def _describe_package(name: str, package: Package) -> dict[str, Any]:
    return {
        "SPDXID": name,
        "name": package.name,
        "versionInfo": package.version,
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": package.purl}
        ],
        **_describe_unknowns(),
        "licenseDeclared": package.license or _UNKNOWN,
    }


def _describe_unknowns() -> dict[str, Any]:
    """Return fields that are unknown from a package's files."""
    return {
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
        "licenseConcluded": _UNKNOWN,
        "copyrightText": _UNKNOWN,
    }


def _format_id(package: Package) -> str:
    """Return a package's stable SPDX id; its digits distinguish names that differ only in replaced characters."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{package.type}-{package.name}")
    return f"SPDXRef-{plain}-{ids.compute_sha256(package.purl.encode()).removeprefix('sha256:')[:12]}"


def _relate(one: str, how: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": how, "relatedSpdxElement": other}


def _describe_license(name: str) -> dict[str, str]:
    called = name.removeprefix("LicenseRef-")
    return {"licenseId": name, "name": called, "extractedText": f"What the package calls {called}; the image has it."}


CYCLONEDX_TYPE = "application/vnd.cyclonedx+json"


def write_cyclonedx(bill: Sbom) -> dict[str, Any]:
    """Build the CycloneDX document."""
    import uuid

    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, build_namespace(bill)).urn,
        "version": 1,
        "metadata": {
            "timestamp": bill.created,
            "tools": {"components": [{"type": "application", "name": GENERATOR}]},
            "component": {
                "type": "container",
                "bom-ref": bill.image,
                "name": "image",
                "version": bill.image,
                "description": describe_scope(),
            },
        },
        "components": [_describe_component(package) for package in bill.packages],
        "dependencies": [{"ref": bill.image, "dependsOn": [package.purl for package in bill.packages]}],
        "compositions": [{"aggregate": "unknown", "assemblies": [bill.image]}],
    }


def _describe_component(package: Package) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
    }
    return plain | ({"licenses": [{"expression": package.license}]} if package.license else {})


def find_license_references(text: str) -> set[str]:
    """Return the licences of an expression that are not in SPDX."""
    return set(re.findall(rf"{LICENSE_REF}[A-Za-z0-9.-]+", text))
