"""The nouns of a bill of materials: what an image is made of, package by package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from devbox.frozen import dataclass

# Part of every document's identity. Raise it when the same image comes to have another bill.
GENERATOR = "devbox-sbom-1"


class Package(NamedTuple):
    """One package in one version.

    `purl` is its identity (package-url.org): `pkg:deb/debian/bash@5.2.37-2?arch=amd64&distro=debian-13`, with the
    source package as `upstream` where that differs. `license` is an SPDX expression; "" where it can't be known.
    """

    purl: str
    name: str
    version: str
    license: str = ""

    @property
    def type(self) -> str:
        """What kind of package: `deb`, `apk`, `pypi`, `npm` or another."""
        return self.purl.removeprefix("pkg:").partition("/")[0]

    @property
    def licenses(self) -> frozenset[str]:
        """Every licence that the expression names, whether all hold or one may be chosen."""
        words = self.license.replace("(", " ").replace(")", " ").split()
        named = (word for at, word in enumerate(words) if words[max(at - 1, 0)] != "WITH")
        return frozenset(named) - {"AND", "OR", "WITH"}


@dataclass(frozen=True, kw_only=True)
class Bill:
    """All packages of one image, each once, in order. `image` is the digest that it describes; `created` as in OCI."""

    image: str
    packages: tuple[Package, ...]
    created: str = ""


def purl(kind: str, name: str, version: str, *, space: str = "", about: Mapping[str, str] | None = None) -> str:
    """A package URL in a namespace, with qualifiers; "" for what can have none."""
    from packageurl import PackageURL

    known = {key: value for key, value in (about or {}).items() if value}
    try:
        return PackageURL(kind, space or None, name, version or None, known).to_string()
    except ValueError:
        return ""


def ordered(packages: Iterable[Package]) -> tuple[Package, ...]:
    """Packages by their URLs, each once: npm brings the same one to many places. Those without a URL are left out."""
    return tuple(package for _, package in sorted({each.purl: each for each in packages if each.purl}.items()))


def scope() -> str:
    """What a bill tells of, and what not: one sentence for who reads it."""
    return (
        "Packages of dpkg, apk, pip and npm, as the image's own files tell; what was copied in or compiled without "
        "them is not listed."
    )
