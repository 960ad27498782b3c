"""A bill as a CycloneDX 1.6 document. Pure: equal bills give equal documents."""

from __future__ import annotations

from typing import Any

from devbox.images.sbom import spdx
from devbox.images.sbom.bill import GENERATOR, Bill, Package, scope

MEDIA_TYPE = "application/vnd.cyclonedx+json"


def document(bill: Bill) -> dict[str, Any]:
    """The document."""
    import uuid

    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, spdx.namespace(bill)).urn,
        "version": 1,
        "metadata": {
            "timestamp": bill.created,
            "tools": {"components": [{"type": "application", "name": GENERATOR}]},
            "component": {
                "type": "container",
                "bom-ref": bill.image,
                "name": "image",
                "version": bill.image,
                "description": scope(),
            },
        },
        "components": [_component(package) for package in bill.packages],
        "dependencies": [{"ref": bill.image, "dependsOn": [package.purl for package in bill.packages]}],
        "compositions": [{"aggregate": "unknown", "assemblies": [bill.image]}],
    }


def _component(package: Package) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
    }
    return plain | ({"licenses": [{"expression": package.license}]} if package.license else {})
