"""Conversion of packages' licence names to SPDX expressions; unknown ones become a `LicenseRef-`. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping

_REF = "LicenseRef-"
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
    "BSD License": f"{_REF}BSD",
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


@functools.cache
def parse_expression(text: str) -> str:
    """Convert free text to an SPDX expression; "" if it is not a licence name."""
    text = " ".join(text.split())
    if not text or len(text) > _LONGEST:
        return ""
    return canonicalize("".join(map(_parse_part, _WORDS.split(text)))) or canonicalize(text) or _format_reference(text)


def parse_debian(copyright_text: str) -> str:
    """Join all licences of a machine-readable copyright file; "" for free-form files."""
    if not copyright_text.startswith("Format:"):
        return ""
    names = re.findall(r"^License:[ \t]*(\S.*)$", copyright_text, re.MULTILINE)
    return join_expressions(map(parse_expression, names))


def parse_python(headers: Mapping[str, str], classifiers: Iterable[str]) -> str:
    """Return the licence from a distribution's expression, else its classifiers, else its free text."""
    if declared := canonicalize(headers.get("License-Expression") or ""):
        return declared
    named = [text.rpartition(" :: ")[2] for text in classifiers if text.startswith("License :: ")]
    known = join_expressions(_CLASSIFIERS.get(name, "") for name in named)
    return known or parse_expression(headers.get("License") or "")


def join_expressions(expressions: Iterable[str]) -> str:
    """Combine expressions with AND."""
    parts = (part for each in expressions if each for part in ([each] if " OR " in each else each.split(" AND ")))
    every = sorted(set(parts))
    return " AND ".join(f"({each})" if " OR " in each and len(every) > 1 else each for each in every)


def canonicalize(text: str) -> str:
    """Return the canonical form of a valid SPDX expression; "" if invalid."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        return str(canonicalize_license_expression(text)) if text else ""
    except InvalidLicenseExpression:
        return ""


def find_references(text: str) -> set[str]:
    """Return the licences of an expression that are not in SPDX."""
    return set(re.findall(rf"{_REF}[A-Za-z0-9.-]+", text))


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
        return canonicalize(f"{kind or ''}GPL-{major}.{minor or 0}-{ending}") or _format_reference(name)
    return canonicalize(name) or _format_reference(name)


def _format_reference(name: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")
    return f"{_REF}{plain}" if plain else ""
