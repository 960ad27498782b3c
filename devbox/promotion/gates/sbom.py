"""Gate `sbom`: packages of the image, read from its layers, against deny lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from devbox.attest import attachments
from devbox.errors import EnvFileError, HostError
from devbox.host import safe_files
from devbox.images.sbom import attach
from devbox.images.sbom.documents import Package, Sbom
from devbox.model import codec, ids
from devbox.model.plan import FAIL, PASS, Verdict
from devbox.model.stage import SbomGate
from devbox.promotion.gates.context import GateContext

_SHOWN = 3  # packages in a reason
_FORM = "write one line per package, such as: CVE-2024-3094 xz-utils@5.6.0"


class DeniedPackage(NamedTuple):
    """A denied package. `name`: its name, its source's name, or a package URL without a version.

    `version` "": any. `why`: vulnerability ID, or "".
    """

    name: str
    version: str = ""
    why: str = ""


def judge(gate: SbomGate, context: GateContext) -> Verdict:
    """Judge whether the image contains denied packages or licenses."""
    oci = attachments.open_store(context.paths)
    bill = attach.build_sbom(attachments.find_subject(context.release.image, oci), oci)
    denied = [parse(text) for text in gate.deny]
    if gate.vulnerabilities:
        denied += _read_list(context.instance.root, gate.vulnerabilities, context.stage.where)
    evidence = ids.compute_key({"bill": codec.dump(bill), "denied": [list(each) for each in denied]})
    found = [*find_denials(bill, denied), *_find_unwanted_licenses(bill, gate.deny_licenses)]
    if not found:
        reason = f"none of {len(bill.packages)} packages is denied"
        return Verdict(subject="sbom", verdict=PASS, reason=reason, evidence=evidence)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    reason = f"the image has {', '.join(found[:_SHOWN])}{more}"
    return Verdict(subject="sbom", verdict=FAIL, reason=reason, evidence=evidence)


def find_denials(bill: Sbom, denied: Iterable[DeniedPackage]) -> Iterator[str]:
    """Yield the denied packages of an SBOM, each once, with the reasons."""
    desired: dict[str, list[DeniedPackage]] = {}
    for each in denied:
        desired.setdefault(each.name, []).append(each)
    for package in bill.packages:
        hits = [
            each
            for name, version in _list_names(package)
            for each in desired.get(name, ())
            if each.version in ("", version)
        ]
        if hits:
            why = ", ".join(sorted({hit.why for hit in hits if hit.why}))
            yield f"{package.name} {package.version}" + (f" ({why})" if why else "")


def parse(text: str, *, why: str = "") -> DeniedPackage:
    """Parse `NAME`, `NAME@VERSION` or a package URL, whose qualifiers are ignored."""
    bare = text.partition("?")[0].partition("#")[0]
    name, at, version = bare.rpartition("@")
    if at and name and not name.endswith("/"):  # npm scopes start with one: @angular/core
        return DeniedPackage(name, unquote(version), why)
    return DeniedPackage(bare, "", why)


def read(text: str) -> list[DeniedPackage]:
    """Parse a vulnerability list: ID and package per line; `#` starts a comment. Raises ValueError."""
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split() if not line.lstrip().startswith("#") else []
        if not words:
            continue
        if len(words) != len(("ID", "PACKAGE")):
            raise ValueError(f"invalid line {number}: expected an ID and a package")
        found.append(parse(words[1], why=words[0]))
    return found


def _read_list(root: str, path: str, where: str) -> list[DeniedPackage]:
    try:
        text = safe_files.read_text(root, path)
        if text is None:
            raise EnvFileError(f"vulnerability list {path} not found", where=where, remedy=_FORM)
        return read(text)
    except (HostError, ValueError) as error:
        raise EnvFileError(f"invalid vulnerability list {path}: {error}", where=where, remedy=_FORM) from None


def _list_names(package: Package) -> Iterator[tuple[str, str]]:
    """Yield the names of a package in lists, with versions: its name, its URL, its source."""
    url, _, qualifiers = package.purl.partition("?")
    yield package.name, package.version
    yield url.rpartition("@")[0] or url, package.version
    source, _, version = dict(parse_qsl(qualifiers)).get("upstream", "").partition("@")
    if source:
        yield source, version or package.version


def _find_unwanted_licenses(bill: Sbom, denied: Iterable[str]) -> Iterator[str]:
    unwanted = frozenset(denied)
    for package in bill.packages:
        if hits := sorted(package.licenses & unwanted):
            yield f"{package.name} {package.version} ({', '.join(hits)})"
