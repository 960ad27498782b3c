"""What a Dockerfile is built from: the file, and its context by content, without what .dockerignore names."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import replace

from devbox.errors import EnvFileError
from devbox.images.build.patterns import expression
from devbox.model import ids
from devbox.model.image import BakeStep, FromDockerfile, ImageSpec

# What devbox itself writes beside the env file is no input: a build would change what it was built from.
_OWN = "devbox.lock.toml"

Rule = tuple[re.Pattern[str], bool]  # what it matches, and whether that is ignored


def with_contents(images: Mapping[str, ImageSpec], root: str) -> dict[str, ImageSpec]:
    """The images, those of Dockerfiles by what these and their contexts hold now, in the project at `root`."""
    return {name: replace(spec, steps=tuple(_read(step, root) for step in spec.steps)) for name, spec in images.items()}


def _read(step: BakeStep, root: str) -> BakeStep:
    return replace(step, root=root, content=content(step, root)) if isinstance(step, FromDockerfile) else step


def content(step: FromDockerfile, root: str) -> str:
    """The digest of a Dockerfile and its context: names, kinds, permissions and bytes; neither owners nor times."""
    total = hashlib.sha256(_digest(_there(f"{root}/{step.path}")))
    for path, facts in files(step, root):
        total.update(ids.canonical_json([path, *_entry(f"{root}/{step.context}/{path}", facts)]))
    return f"sha256:{total.hexdigest()}"


def files(step: FromDockerfile, root: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every file, link and directory of the context that is not ignored, by name."""
    place = f"{root}/{step.context}"
    if not os.path.isdir(place):
        raise EnvFileError(f"the context {step.context} of {step.path} is no directory", remedy="name one, or make it")
    found = rules(ignore_text(step, root))
    excepted = any(not ignored for _, ignored in found)
    yield from _walk(place, "", found, excepted=excepted)


def ignore_text(step: FromDockerfile, root: str) -> str:
    """What is left out of the context, as .dockerignore says it."""
    own = f"{root}/{step.path}.dockerignore"
    for path in (own, *(f"{root}/{step.context}/{name}" for name in (".containerignore", ".dockerignore"))):
        if os.path.isfile(path):
            with open(path, encoding="utf-8", errors="surrogateescape") as source:
                return f"{source.read()}\n{_OWN}\n"
    return f"{_OWN}\n"


def rules(text: str) -> list[Rule]:
    """The rules of a .dockerignore. Of those that match, the last one counts."""
    found = []
    for line in map(str.strip, text.splitlines()):
        if not line or line.startswith("#"):
            continue
        pattern = os.path.normpath(line.removeprefix("!").strip()).lstrip("/")
        found.append((re.compile(f"{expression(pattern)}(?:/.*)?", re.DOTALL), not line.startswith("!")))
    return found


def ignored(path: str, found: list[Rule]) -> bool:
    """Whether a path of the context is left out."""
    return next((ignore for pattern, ignore in reversed(found) if pattern.fullmatch(path)), False)


def _walk(place: str, inside: str, found: list[Rule], *, excepted: bool) -> Iterator[tuple[str, os.stat_result]]:
    """`excepted`: a directory that is left out may hold what is not."""
    for name in sorted(os.listdir(f"{place}/{inside}"), key=os.fsencode):
        path = f"{inside}{name}"
        facts = os.lstat(f"{place}/{path}")
        left_out = ignored(path, found)
        if not left_out:
            yield path, facts
        if stat.S_ISDIR(facts.st_mode) and (excepted or not left_out):
            yield from _walk(place, f"{path}/", found, excepted=excepted)


def _entry(path: str, facts: os.stat_result) -> tuple[str, int, str]:
    if stat.S_ISREG(facts.st_mode):
        return "file", stat.S_IMODE(facts.st_mode), _digest(path).hex()
    if stat.S_ISLNK(facts.st_mode):
        return "link", 0, os.readlink(path)
    return "directory" if stat.S_ISDIR(facts.st_mode) else "special", stat.S_IMODE(facts.st_mode), ""


def _there(path: str) -> str:
    if not os.path.isfile(path):
        raise EnvFileError(f"there is no Dockerfile {path}", remedy="name one of the project: dockerfile = PATH")
    return path


def _digest(path: str) -> bytes:
    with open(path, "rb") as source:
        return hashlib.file_digest(source, "sha256").digest()
