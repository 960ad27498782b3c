"""What a step installed: packages of the distribution, and what pip and npm brought; their versions by name.

Names of pip's and npm's packages have the program before them: `pip:flask`, `npm:typescript`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping

from devbox.images import dpkg, lacking
from devbox.isolation import inside_root, syscalls
from devbox.model import jsontext
from devbox.model.image import BakeStep, Bootstrap, Copy, Files, FromTarball, Run, describe

_SITE = "site-packages"  # Debian's own Python packages lie in dist-packages: they are packages of the distribution
_MODULES = "lib/node_modules"  # npm's global packages
_ARCHIVE = re.compile(r"(?P<project>.+?)-\d.*\.(whl|tar\.gz|tgz|zip)")
_MOST = 1 << 26  # characters that are read of a file
_SEPARATORS = re.compile(r"[-_.]+")


def by_step(step: BakeStep, tree: str, lowers: tuple[str, ...], *, output: str = "") -> dict[str, str]:
    """What a step whose changes are in `tree` installed over `lowers`, topmost first.

    Packages whose files lie in `output`, which `[build]` put out, are the project's own: they count for nothing.
    """
    if isinstance(step, Files | FromTarball | Copy):
        return {}
    before = next((found for lower in lowers if (found := _status(lower)) is not None), {})
    now = _status(tree)
    versions = {name: version for name, version in (now or {}).items() if before.get(name) != version}
    if isinstance(step, Run):
        own = _put_out(output) if output else set()
        versions |= {name: version for name, version in (_python(tree) | _node(tree)).items() if name not in own}
    return dict(sorted(versions.items()))


def check(step: BakeStep, versions: Mapping[str, str]) -> None:
    """BakeFailed when the step was to install something else. Commands may be others than the lock was written for.

    Those bring packages that it has not, and leave some out that it has.
    """
    if isinstance(step, Files | FromTarball | Copy) or step.pins is None or step.pins == versions:
        return
    differing = {name: (locked, versions.get(name, "")) for name, locked in step.pins.items()}
    differing |= {name: ("", version) for name, version in versions.items() if name not in step.pins}
    changed = {name: pair for name, pair in differing.items() if pair[0] != pair[1]}
    if isinstance(step, Run):
        changed = {name: pair for name, pair in changed.items() if all(pair)}
    if not changed:
        return
    raise lacking.error(changed, base=describe(step) if isinstance(step, Bootstrap) else "")


def _status(tree: str) -> dict[str, str] | None:
    """The packages of dpkg's status file; None where the tree has none."""
    text = inside_root.read_text(tree, dpkg.STATUS, most=_MOST)
    if text is None:
        return None
    stated = (fields for fields in dpkg.installed(text) if "Package" in fields and "Version" in fields)
    return {fields["Package"]: fields["Version"] for fields in stated}


def _python(tree: str) -> dict[str, str]:
    found = {}
    for directory, names, _files in os.walk(tree):
        if os.path.basename(directory) == _SITE:
            for name in names:
                if name.endswith(".dist-info"):
                    project, _, version = name.removesuffix(".dist-info").rpartition("-")
                    found[f"pip:{_SEPARATORS.sub('-', project).lower()}"] = version
            names.clear()
    return found


def _put_out(output: str) -> set[str]:
    """The Python packages of which wheels or source archives lie below a directory, and the npm packages."""
    found = set()
    for _, _, names in os.walk(output):
        for name in names:
            if match := _ARCHIVE.fullmatch(name):
                project = match["project"]
                found |= {f"pip:{_SEPARATORS.sub('-', project).lower()}", f"npm:{project}"}
    return found


def _node(tree: str) -> dict[str, str]:
    found = {}
    for root in (f"usr/{_MODULES}", f"usr/local/{_MODULES}"):
        for name in _modules(tree, root):
            text = inside_root.read_text(tree, f"{root}/{name}/package.json", most=_MOST)
            with contextlib.suppress(ValueError, TypeError, KeyError):  # somebody's own, not npm's
                found[f"npm:{name}"] = str(jsontext.loads(text or "")["version"])
    return found


def _modules(tree: str, root: str) -> Iterator[str]:
    """What lies in a directory of modules, scoped ones as `@scope/name`. No link is followed, but inside the tree."""
    for name in _names(tree, root):
        if name.startswith("@"):
            yield from (f"{name}/{inner}" for inner in _names(tree, f"{root}/{name}"))
        else:
            yield name


def _names(tree: str, path: str) -> list[str]:
    try:
        directory = syscalls.open_inside(tree, path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return []
    try:
        return os.listdir(directory)
    finally:
        os.close(directory)
