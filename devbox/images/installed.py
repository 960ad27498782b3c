"""What a step installed: packages of the distribution, and what pip and npm brought; their versions by name.

Names of pip's and npm's packages have the program before them: `pip:flask`, `npm:typescript`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping

from devbox.images import dpkg, lacking
from devbox.model.image import BakeStep, Bootstrap, Copy, Files, FromTarball, Run, describe

_SITE = "site-packages"  # Debian's own Python packages lie in dist-packages: they are packages of the distribution
_MODULES = "lib/node_modules"  # npm's global packages
_ARCHIVE = re.compile(r"(?P<project>.+?)-\d.*\.(whl|tar\.gz|tgz|zip)")
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
    try:
        with open(f"{tree}/{dpkg.STATUS}", encoding="utf-8", errors="replace") as status:
            return {fields["Package"]: fields["Version"] for fields in dpkg.installed(status.read())}
    except OSError:
        return None


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
    for root in (f"{tree}/usr/{_MODULES}", f"{tree}/usr/local/{_MODULES}"):
        for name in _modules(root):
            with open(f"{root}/{name}/package.json", encoding="utf-8") as package:
                found[f"npm:{name}"] = str(json.load(package)["version"])
    return found


def _modules(root: str) -> Iterator[str]:
    """The packages of a directory of modules, scoped ones as `@scope/name`."""
    names = os.listdir(root) if os.path.isdir(root) else []
    scoped = [f"{name}/{inner}" for name in names if name.startswith("@") for inner in os.listdir(f"{root}/{name}")]
    yield from (name for name in (*names, *scoped) if os.path.isfile(f"{root}/{name}/package.json"))
