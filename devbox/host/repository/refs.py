"""What HEAD and the branches of a repository say."""

from __future__ import annotations

import re
from collections.abc import Iterator

from devbox.host import beneath
from devbox.host.beneath import Project, read_all
from devbox.host.repository.find import Place, Repository

HEADS = "refs/heads/"
_SYMBOLIC = "ref:"
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_NAME = re.compile(r"refs/(?!.*(?:/\.|\.\.|//))[^\x00-\x20\x7f~^:?*\[\\]+(?<![/.])")
_LONGEST = 4096
_PACKED, _MOST_PACKED = "packed-refs", 64 << 20
_NESTED = 5
_MOST = 100_000  # branches
_NO_NAME = "refs/heads/.invalid"  # how a repository begins whose branches lie in another form


def branch(repository: Repository) -> str | None:
    """The name of the branch that is checked out; None for none."""
    target = _target(repository.own, "HEAD")
    return target.removeprefix(HEADS) if target.startswith(HEADS) and target != _NO_NAME else None


def head(repository: Repository) -> str | None:
    """The commit that is checked out, as hex digits; None before the first one."""
    return _resolved(repository, "HEAD")


def branches(repository: Repository) -> tuple[str, ...]:
    """The names of all branches that have a commit."""
    found = {name for name, _ in _packed(repository) if name.startswith(HEADS)}
    place = repository.common
    inner = f"{place.inner}/refs/heads".lstrip("/")
    for path, _ in beneath.below(place.root, inner):
        found.add(f"{HEADS}{path.removeprefix(f'{inner}/')}")
        if len(found) > _MOST:
            break
    return tuple(sorted(name.removeprefix(HEADS) for name in found if _NAME.fullmatch(name)))


def _resolved(repository: Repository, name: str) -> str | None:
    for _ in range(_NESTED):
        text = _text(repository.own if name == "HEAD" else repository.common, name)
        if not text.startswith(_SYMBOLIC):
            break
        name = text.removeprefix(_SYMBOLIC).strip()
        if not _NAME.fullmatch(name):
            return None
    if _COMMIT.fullmatch(text):
        return text
    return next((digits for known, digits in _packed(repository) if known == name), None)


def _target(place: Place, name: str) -> str:
    """The name that a symbolic reference refers to; "" for none."""
    text = _text(place, name)
    target = text.removeprefix(_SYMBOLIC).strip()
    return target if text.startswith(_SYMBOLIC) and _NAME.fullmatch(target) else ""


def _packed(repository: Repository) -> Iterator[tuple[str, str]]:
    for line in _text(repository.common, _PACKED, limit=_MOST_PACKED).splitlines():
        digits, _, name = line.partition(" ")
        if _COMMIT.fullmatch(digits):
            yield name, digits


def _text(place: Place, path: str, *, limit: int = _LONGEST) -> str:
    """What a file of a repository says; "" for one that can't be used."""
    try:
        with place.open() as directory:
            return _read(directory, path, limit).decode(errors="surrogateescape").rstrip("\n")
    except OSError:
        return ""


def _read(directory: Project, path: str, limit: int) -> bytes:
    with open(directory.open(path), "rb") as source:
        return read_all(source, path, limit=limit)
