"""Installed packages of an image, from the files of package managers: dpkg, apk, pip, npm. Pure.

Their licence names become SPDX expressions, unknown ones a `LicenseRef-`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from email.parser import HeaderParser

from devbox.images.bake import installed
from devbox.images.sbom.documents import LICENSE_REF, Package, build_purl, sort_packages
from devbox.images.sbom.tree import Tree
from devbox.model import jsontext

_LONGEST = 80  # a longer "name" is the licence's text
_GNU = re.compile(r"(A|L)?GPL[- ]?v?(\d)(?:\.(\d))?(\+|-or-later|-only)?", re.IGNORECASE)
_ALIASES = {
    "apache 2.0": "Apache-2.0",
    "apache-2": "Apache-2.0",
    "artistic": "Artistic-1.0-Perl",  # as in Debian's common-licenses
    "expat": "MIT",
    "mit/x11": "MIT",
    "mpl-2": "MPL-2.0",
}
_WORDS = re.compile(r"(\(|\)|\s+and/or\s+|\s+(?:and|or)\s+|\s*,\s*(?:and\s+|or\s+)?|_or_)", re.IGNORECASE)
# Classifiers of Python packages that denote a single licence.
_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": f"{LICENSE_REF}BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "Zope Public License": "ZPL-2.1",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
}
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
            known = parse_debian_copyright(tree.read_text(f"usr/share/doc/{name}/copyright") or "")
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
        yield Package(link, name, version, parse_license(fields.get("L", "")))


def _find_python(tree: Tree) -> Iterator[Package]:
    for path, match in tree.find_matching(_PYTHON).items():
        headers = HeaderParser().parsestr(tree.read_text(path) or "")
        name, version = str(headers["Name"] or ""), str(headers["Version"] or "")
        if not name or not version or _OF_DEBIAN.fullmatch(match[1]):
            continue
        known = parse_python_license(
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
    return " OR ".join(sorted({known for text in texts if isinstance(text, str) and (known := _parse_node_name(text))}))


def _parse_node_name(text: str) -> str:
    return "" if text.upper().startswith(("SEE LICENSE", "UNLICENSED")) else parse_license(text)


@functools.cache
def parse_license(text: str) -> str:
    """Convert free text to an SPDX expression; "" if it is not a licence name."""
    text = " ".join(text.split())
    if not text or len(text) > _LONGEST:
        return ""
    return (
        canonicalize_license("".join(map(_parse_part, _WORDS.split(text))))
        or canonicalize_license(text)
        or _format_reference(text)
    )


def parse_debian_copyright(copyright_text: str) -> str:
    """Join all licences of a machine-readable copyright file; "" for free-form files."""
    if not copyright_text.startswith("Format:"):
        return ""
    names = re.findall(r"^License:[ \t]*(\S.*)$", copyright_text, re.MULTILINE)
    return join_licenses(map(parse_license, names))


def parse_python_license(headers: Mapping[str, str], classifiers: Iterable[str]) -> str:
    """Return the licence from a distribution's expression, else its classifiers, else its free text."""
    if declared := canonicalize_license(headers.get("License-Expression") or ""):
        return declared
    named = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License :: ")]
    known = join_licenses(_CLASSIFIERS.get(name, "") for name in named)
    return known or parse_license(headers.get("License") or "")


def join_licenses(expressions: Iterable[str]) -> str:
    """Combine expressions with AND."""
    parts = (part for each in expressions if each for part in ([each] if " OR " in each else each.split(" AND ")))
    every = sorted(set(parts))
    return " AND ".join(f"({each})" if " OR " in each and len(every) > 1 else each for each in every)


def canonicalize_license(text: str) -> str:
    """Return the canonical form of a valid SPDX expression; "" if invalid."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return str(canonicalize_license_expression(text)) if text else ""
    except InvalidLicenseExpression:
        return ""


def _parse_part(word: str) -> str:
    """Convert one token of an expression: a name, a bracket or a conjunction."""
    bare = word.strip()
    if bare in ("", "(", ")"):
        return bare
    if _WORDS.fullmatch(word):
        return " OR " if bare.lower().strip("_, ") in ("or", "and/or") else " AND "
    return _parse_name(bare)


def _parse_name(name: str) -> str:
    """Convert a single licence name."""
    if alias := _ALIASES.get(name.lower()):
        return alias
    if gnu := _GNU.fullmatch(name):
        kind, major, minor, later = gnu.groups()
        ending = "or-later" if later in ("+", "-or-later") else "only"
        return canonicalize_license(f"{kind or ''}GPL-{major}.{minor or 0}-{ending}") or _format_reference(name)
    return canonicalize_license(name) or _format_reference(name)


def _format_reference(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")
    return f"{LICENSE_REF}{plain}" if plain else ""
