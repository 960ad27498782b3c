"""A bill as an SPDX 2.3 document. Pure: equal bills give equal documents."""

from __future__ import annotations

import re
from typing import Any

from devbox.images.sbom import licenses
from devbox.images.sbom.bill import GENERATOR, Bill, Package, scope
from devbox.model import ids

MEDIA_TYPE = "application/spdx+json"
_IMAGE = "SPDXRef-image"
_UNKNOWN = "NOASSERTION"


def namespace(bill: Bill) -> str:
    """What makes the document one of its own: the image, and who wrote the bill."""
    return f"https://spdx.org/spdxdocs/{GENERATOR}-{bill.image.replace(':', '-')}"


def document(bill: Bill) -> dict[str, Any]:
    """The document."""
    packages = {_id(package): package for package in bill.packages}
    contained = [_related(_IMAGE, "CONTAINS", name) for name in packages]
    named = {name for package in bill.packages for name in licenses.references(package.license)}
    extracted = [_extracted(name) for name in sorted(named)]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": bill.image,
        "documentNamespace": namespace(bill),
        "comment": scope(),
        "creationInfo": {"created": bill.created, "creators": [f"Tool: {GENERATOR}"]},
        "packages": [_image(bill), *(_package(name, package) for name, package in packages.items())],
        "relationships": [_related("SPDXRef-DOCUMENT", "DESCRIBES", _IMAGE), *contained],
        **({"hasExtractedLicensingInfos": extracted} if extracted else {}),
    }


def _image(bill: Bill) -> dict[str, Any]:
    return {
        "SPDXID": _IMAGE,
        "name": "image",
        "versionInfo": bill.image,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{"algorithm": "SHA256", "checksumValue": bill.image.removeprefix("sha256:")}],
        **_unsaid(),
        "licenseDeclared": _UNKNOWN,
    }


def _package(name: str, package: Package) -> dict[str, Any]:
    return {
        "SPDXID": name,
        "name": package.name,
        "versionInfo": package.version,
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": package.purl}
        ],
        **_unsaid(),
        "licenseDeclared": package.license or _UNKNOWN,
    }


def _unsaid() -> dict[str, Any]:
    """What a package's files do not tell."""
    return {
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
        "licenseConcluded": _UNKNOWN,
        "copyrightText": _UNKNOWN,
    }


def _id(package: Package) -> str:
    """An id that is the package's in every document; its digits keep names apart that differ in other characters."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{package.type}-{package.name}")
    return f"SPDXRef-{plain}-{ids.sha256(package.purl.encode()).removeprefix('sha256:')[:12]}"


def _related(one: str, how: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": how, "relatedSpdxElement": other}


def _extracted(name: str) -> dict[str, str]:
    called = name.removeprefix("LicenseRef-")
    return {"licenseId": name, "name": called, "extractedText": f"What the package calls {called}; the image has it."}
