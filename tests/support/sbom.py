"""SBOM parser for devbox's own documents and others' SPDX 2 or CycloneDX in JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from devbox.errors import BakeFailed
from devbox.images.sbom.documents import Package, Sbom, sort_packages
from devbox.model import jsontext

_UNSAID = ("NOASSERTION", "NONE")


def parse_sbom(raw: bytes) -> Sbom:
    """Parse a document, ignoring entries without a package URL; raise BakeFailed for other documents.

    `image` is the digest of the described image according to the document; "" if not stated.
    """
    try:
        plain = jsontext.loads(raw)
        if str(plain.get("spdxVersion", "")).startswith("SPDX-2"):
            return _parse_spdx(plain)
        if plain.get("bomFormat") == "CycloneDX":
            return _parse_cyclonedx(plain)
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise _build_error(f"{error!r:.200}") from None
    raise _build_error("neither SPDX 2 nor CycloneDX")


def _parse_spdx(plain: dict[str, Any]) -> Sbom:
    described = {
        each["relatedSpdxElement"]
        for each in plain.get("relationships", [])
        if each["relationshipType"] == "DESCRIBES" and each["spdxElementId"] == plain["SPDXID"]
    }
    image, packages = "", []
    for each in plain.get("packages", []):
        if each["SPDXID"] in described:
            image = each.get("versionInfo", "")
        elif link := next(_list_purls(each), ""):
            declared = each.get("licenseDeclared", "")
            license_ = "" if declared in _UNSAID else declared
            packages.append(Package(link, each["name"], each.get("versionInfo", ""), license_))
    return Sbom(image=image, packages=sort_packages(packages), created=plain["creationInfo"]["created"])


def _list_purls(package: dict[str, Any]) -> Iterator[str]:
    return (each["referenceLocator"] for each in package.get("externalRefs", []) if each["referenceType"] == "purl")


def _parse_cyclonedx(plain: dict[str, Any]) -> Sbom:
    about = plain.get("metadata", {})
    packages = [
        Package(each["purl"], _format_name(each), each.get("version", ""), " AND ".join(_list_licenses(each)))
        for each in plain.get("components", [])
        if each.get("purl")
    ]
    image = about.get("component", {}).get("version", "")
    return Sbom(image=image, packages=sort_packages(packages), created=about.get("timestamp", ""))


def _format_name(component: dict[str, Any]) -> str:
    return "/".join(filter(None, (component.get("group"), component["name"])))


def _list_licenses(component: dict[str, Any]) -> Iterator[str]:
    for each in component.get("licenses", []):
        one = each.get("license", {})
        if text := each.get("expression") or one.get("id") or one.get("name"):
            yield text


def _build_error(why: str) -> BakeFailed:
    return BakeFailed(f"invalid SBOM: {why}", remedy="create one with: devbox image sbom IMAGE")
