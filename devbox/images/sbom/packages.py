"""The packages of an image, from the files that package managers leave: dpkg, apk, pip, npm. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.parser import HeaderParser

from devbox.images import dpkg
from devbox.images.sbom import licenses
from devbox.images.sbom.bill import Package, ordered, purl
from devbox.images.sbom.tree import Tree
from devbox.model import jsontext

_STATUS = re.compile(rf"{dpkg.STATUS}(?:\.d/[^/]+)?")
_PYTHON = re.compile(r"(.*(?:site|dist)-packages)/[^/]+\.(?:dist-info/METADATA|egg-info(?:/PKG-INFO)?)")
_OF_DEBIAN = re.compile(r"usr/lib/python\d[\d.]*/dist-packages")  # packages of the distribution, listed as such
_NODE = re.compile(r"(?:.*/)?node_modules/((?:@[^/]+/)?[^/]+)/package\.json")
_OF_DEBIAN_S_NODE = "usr/share/nodejs/"
_SEPARATORS = re.compile(r"[-_.]+")
_FACT = re.compile(r"^(\w+)=[\"']?([^\"'\n]*)[\"']?$", re.MULTILINE)
_APK = "lib/apk/db/installed"


def of(tree: Tree) -> tuple[Package, ...]:
    """Every package of an image."""
    found = [*_debian(tree), *_alpine(tree), *_python(tree), *_node(tree)]
    return ordered(found)


def _system(tree: Tree) -> dict[str, str]:
    """What the image says of its distribution."""
    return dict(_FACT.findall(tree.text("etc/os-release") or tree.text("usr/lib/os-release") or ""))


def _distro(system: dict[str, str]) -> str:
    release = system.get("VERSION_ID") or system.get("VERSION_CODENAME") or ""
    return "-".join(filter(None, (system.get("ID", ""), release)))


def _debian(tree: Tree) -> Iterator[Package]:
    system = _system(tree)
    for path in tree.matching(_STATUS):
        text = tree.text(path) or ""
        found = dpkg.installed(text) if path == dpkg.STATUS else dpkg.stanzas(text)  # status.d: distroless images
        for fields in found:
            if not {"Package", "Version"} <= fields.keys():
                continue
            name, version = fields["Package"], fields["Version"]
            source, _, of_source = fields.get("Source", "").partition(" ")
            upstream = source + (f"@{of_source.strip('()')}" if of_source else "")
            about = {"arch": fields.get("Architecture", ""), "distro": _distro(system), "upstream": upstream}
            known = licenses.of_debian(tree.text(f"usr/share/doc/{name}/copyright") or "")
            space = system.get("ID", "debian")
            yield Package(purl("deb", name, version, space=space, about=about), name, version, known)


def _alpine(tree: Tree) -> Iterator[Package]:
    system = _system(tree)
    for stanza in (tree.text(_APK) or "").split("\n\n"):
        fields = dict(line.split(":", 1) for line in stanza.splitlines() if line[1:2] == ":")
        if not fields.get("P") or not fields.get("V"):
            continue
        name, version, origin = fields["P"], fields["V"], fields.get("o", "")
        about = {
            "arch": fields.get("A", ""),
            "distro": _distro(system),
            "upstream": origin if origin != name else "",
        }
        link = purl("apk", name, version, space=system.get("ID", "alpine"), about=about)
        yield Package(link, name, version, licenses.expression(fields.get("L", "")))


def _python(tree: Tree) -> Iterator[Package]:
    for path, match in tree.matching(_PYTHON).items():
        headers = HeaderParser().parsestr(tree.text(path) or "")
        name, version = str(headers["Name"] or ""), str(headers["Version"] or "")
        if not name or not version or _OF_DEBIAN.fullmatch(match[1]):
            continue
        known = licenses.of_python(
            {key: str(headers[key] or "") for key in ("License-Expression", "License")},
            map(str, headers.get_all("Classifier") or ()),
        )
        yield Package(purl("pypi", _SEPARATORS.sub("-", name).lower(), version), name, version, known)


def _node(tree: Tree) -> Iterator[Package]:
    for path, match in tree.matching(_NODE).items():
        plain = {} if path.startswith(_OF_DEBIAN_S_NODE) else _table(tree.text(path) or "")
        name, version = plain.get("name"), plain.get("version")
        if not (isinstance(name, str) and isinstance(version, str) and name and version):
            continue
        scope, _, bare = name.rpartition("/")
        link = purl("npm", bare or match[1], version, space=scope)
        yield Package(link, name, version, _of_node(plain))


def _table(text: str) -> dict[str, object]:
    try:
        plain = jsontext.loads(text)
    except ValueError:
        return {}
    return plain if isinstance(plain, dict) else {}


def _of_node(plain: dict[str, object]) -> str:
    """npm's `license`, also as it was written in former times: tables, and lists to choose from."""
    found = plain.get("license") or plain.get("licenses") or ""
    names = found if isinstance(found, list) else [found]
    texts = [each.get("type") if isinstance(each, dict) else each for each in names]
    return " OR ".join(sorted({known for text in texts if isinstance(text, str) and (known := _named(text))}))


def _named(text: str) -> str:
    return "" if text.upper().startswith(("SEE LICENSE", "UNLICENSED")) else licenses.expression(text)
