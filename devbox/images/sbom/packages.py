"""Installed packages of an image, from the files of package managers: dpkg, apk, pip, npm. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.parser import HeaderParser

from devbox.images.bake import installed
from devbox.images.sbom import licenses
from devbox.images.sbom.documents import Package, build_purl, sort_packages
from devbox.images.sbom.tree import Tree
from devbox.model import jsontext

_STATUS = re.compile(rf"{installed.STATUS}(?:\.d/[^/]+)?")
_PYTHON = re.compile(r"(.*(?:site|dist)-packages)/[^/]+\.(?:dist-info/METADATA|egg-info(?:/PKG-INFO)?)")
_OF_DEBIAN = re.compile(r"usr/lib/python\d[\d.]*/dist-packages")  # the distribution's, listed as such
_NODE = re.compile(r"(?:.*/)?node_modules/((?:@[^/]+/)?[^/]+)/package\.json")
_OF_DEBIAN_S_NODE = "usr/share/nodejs/"
_SEPARATORS = re.compile(r"[-_.]+")
_FACT = re.compile(r"^(\w+)=[\"']?([^\"'\n]*)[\"']?$", re.MULTILINE)
_APK = "lib/apk/db/installed"


def find_packages(tree: Tree) -> tuple[Package, ...]:
    """Return all packages of an image."""
    found = [*_find_debian(tree), *_find_alpine(tree), *_find_python(tree), *_find_node(tree)]
    return sort_packages(found)


def _read_system(tree: Tree) -> dict[str, str]:
    """Return the fields of the image's os-release."""
    return dict(_FACT.findall(tree.read_text("etc/os-release") or tree.read_text("usr/lib/os-release") or ""))


def _format_distro(system: dict[str, str]) -> str:
    release = system.get("VERSION_ID") or system.get("VERSION_CODENAME") or ""
    return "-".join(filter(None, (system.get("ID", ""), release)))


def _find_debian(tree: Tree) -> Iterator[Package]:
    system = _read_system(tree)
    for path in tree.find_matching(_STATUS):
        text = tree.read_text(path) or ""
        found = (
            installed.parse_installed(text) if path == installed.STATUS else installed.parse_stanzas(text)
        )  # status.d: distroless images
        for fields in found:
            if not {"Package", "Version"} <= fields.keys():
                continue
            name, version = fields["Package"], fields["Version"]
            source, _, of_source = fields.get("Source", "").partition(" ")
            upstream = source + (f"@{of_source.strip('()')}" if of_source else "")
            about = {"arch": fields.get("Architecture", ""), "distro": _format_distro(system), "upstream": upstream}
            known = licenses.parse_debian(tree.read_text(f"usr/share/doc/{name}/copyright") or "")
            space = system.get("ID", "debian")
            yield Package(build_purl("deb", name, version, space=space, about=about), name, version, known)


def _find_alpine(tree: Tree) -> Iterator[Package]:
    system = _read_system(tree)
    for stanza in (tree.read_text(_APK) or "").split("\n\n"):
        fields = dict(line.split(":", 1) for line in stanza.splitlines() if line[1:2] == ":")
        if not fields.get("P") or not fields.get("V"):
            continue
        name, version, origin = fields["P"], fields["V"], fields.get("o", "")
        about = {
            "arch": fields.get("A", ""),
            "distro": _format_distro(system),
            "upstream": origin if origin != name else "",
        }
        link = build_purl("apk", name, version, space=system.get("ID", "alpine"), about=about)
        yield Package(link, name, version, licenses.parse_expression(fields.get("L", "")))


def _find_python(tree: Tree) -> Iterator[Package]:
    for path, match in tree.find_matching(_PYTHON).items():
        headers = HeaderParser().parsestr(tree.read_text(path) or "")
        name, version = str(headers["Name"] or ""), str(headers["Version"] or "")
        if not name or not version or _OF_DEBIAN.fullmatch(match[1]):
            continue
        known = licenses.parse_python(
            {key: str(headers[key] or "") for key in ("License-Expression", "License")},
            map(str, headers.get_all("Classifier") or ()),
        )
        yield Package(build_purl("pypi", _SEPARATORS.sub("-", name).lower(), version), name, version, known)


def _find_node(tree: Tree) -> Iterator[Package]:
    for path, match in tree.find_matching(_NODE).items():
        plain = {} if path.startswith(_OF_DEBIAN_S_NODE) else _parse_table(tree.read_text(path) or "")
        name, version = plain.get("name"), plain.get("version")
        if not (isinstance(name, str) and isinstance(version, str) and name and version):
            continue
        scope, _, bare = name.rpartition("/")
        link = build_purl("npm", bare or match[1], version, space=scope)
        yield Package(link, name, version, _parse_node_license(plain))


def _parse_table(text: str) -> dict[str, object]:
    try:
        plain = jsontext.loads(text)
    except ValueError:
        return {}
    return plain if isinstance(plain, dict) else {}


def _parse_node_license(plain: dict[str, object]) -> str:
    """Return npm's `license`, including legacy forms: tables, and lists of alternatives."""
    found = plain.get("license") or plain.get("licenses") or ""
    names = found if isinstance(found, list) else [found]
    texts = [each.get("type") if isinstance(each, dict) else each for each in names]
    return " OR ".join(sorted({known for text in texts if isinstance(text, str) and (known := _parse_license(text))}))


def _parse_license(text: str) -> str:
    return "" if text.upper().startswith(("SEE LICENSE", "UNLICENSED")) else licenses.parse_expression(text)
