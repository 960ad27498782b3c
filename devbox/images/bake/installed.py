"""Packages installed by a step, from the distribution, pip and npm, with their versions.

Names of pip's and npm's packages are prefixed: `pip:flask`, `npm:typescript`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping

from devbox.errors import BakeFailed
from devbox.host import process
from devbox.isolation import accounts, syscalls
from devbox.model import jsontext
from devbox.model.image import BakeStep, Bootstrap, Copy, Files, FromTarball, Run, describe

_SHOWN = 7


def build_mismatch_error(differing: Mapping[str, tuple[str, str]], *, base: str = "") -> BakeFailed:
    """Build the error for `differing`: package → (locked version, available version), "" for none.

    `base` is the base system that all of them belong to; "" if they were added to one.
    """
    lines = [
        f"{name}: locked {locked or 'nothing'}, offered {offered or 'nothing'}"
        for name, (locked, offered) in sorted(differing.items())
    ]
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    names = f'"{base}"' if base else " ".join(sorted(differing))
    return BakeFailed(
        "cannot install packages in the versions of devbox.lock.toml",
        details="\n".join(lines[:_SHOWN] + more),
        remedy=f"use the available versions: devbox update {names}; "
        "or point DEVBOX_MIRROR_DEBIAN to a mirror with the locked versions",
    )


_TRUSTED = "deb [trusted=yes] {method}:{path} ./\n"
_DATE = "Wed, 01 Jan 2025 00:00:00 UTC"  # required by apt, without meaning here
_PINNED, _PREFERRED = 1001, 990  # above 1000 overrides installed versions; above 500 overrides the mirror's


def create_repository(archives: str, place: str, versions: Mapping[str, str], *, suite: str) -> bool:
    """Create a repository of the cached packages in the directory `place`; return whether all are cached.

    The repository claims to be the suite, because mmdebstrap selects a minimal system's packages by suite.
    """
    os.makedirs(place)
    cached = _list_cached(archives)
    found = [cached[key] for key in sorted(versions.items()) if key in cached]
    for name in found:
        _link(f"{archives}/{name}", f"{place}/{name}")
    index = "".join(_format_stanza(place, name) for name in found).encode()
    _write(f"{place}/Packages", index)
    total = f"SHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} Packages\n"
    _write(f"{place}/Release", f"Suite: {suite}\nCodename: {suite}\nDate: {_DATE}\n{total}".encode())
    return len(found) == len(versions)


def format_source(path: str, *, method: str = "file") -> str:
    """Return the sources line of a repository at `path`, as seen by its reader.

    With `method` "copy" apt copies the packages to its archives, for callers that read them there.
    """
    return _TRUSTED.format(method=method, path=path)


def format_preferences(pins: Mapping[str, str] | None, prefer: Mapping[str, str]) -> str:
    """Return apt's preferences: mandatory pins, or preferred versions that apply while available."""
    priority, versions = (_PREFERRED, prefer) if pins is None else (_PINNED, pins)
    return "\n".join(
        f"Package: {name}\nPin: version {version}\nPin-Priority: {priority}\n"
        for name, version in sorted(versions.items())
    )


def store_archives(tree: str, archives: str) -> None:
    """Move the packages downloaded for a new system to the cache."""
    os.makedirs(archives, exist_ok=True)
    for entry in os.scandir(f"{tree}/var/cache/apt/archives"):
        if entry.name.endswith(".deb"):
            shutil.move(entry.path, f"{archives}/{entry.name}")


def _list_cached(archives: str) -> dict[tuple[str, str], str]:
    """Return the cached packages: (name, version) → file. apt encodes `:` in a version as `%3a`."""
    found = {}
    for name in os.listdir(archives) if os.path.isdir(archives) else []:
        parts = name.removesuffix(".deb").split("_")
        if name.endswith(".deb") and len(parts) == len(("name", "version", "architecture")):
            found[parts[0], parts[1].replace("%3a", ":")] = name
    return found


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as out:
        out.write(data)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # the cache is on another file system
        shutil.copyfile(source, target)


def _format_stanza(place: str, name: str) -> str:
    path = f"{place}/{name}"
    with open(path, "rb") as package:
        digest = hashlib.file_digest(package, "sha256").hexdigest()
    fields = process.run(["dpkg-deb", "--field", path], purpose=f"read the cached package {name}").stdout.decode()
    return f"{fields.rstrip()}\nFilename: ./{name}\nSize: {os.path.getsize(path)}\nSHA256: {digest}\n\n"


STATUS = "var/lib/dpkg/status"
_INSTALLED = "install ok installed"


def parse_stanzas(text: str) -> Iterator[dict[str, str]]:
    """Yield the fields of each stanza, first lines only."""
    for stanza in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line and line[0] not in " \t#")
        if fields:
            yield fields


def parse_installed(status: str) -> Iterator[dict[str, str]]:
    """Return the stanzas of installed packages."""
    return (fields for fields in parse_stanzas(status) if fields.get("Status") == _INSTALLED)


_SITE = "site-packages"  # Debian's own Python packages are in dist-packages and count as distribution packages
_MODULES = "lib/node_modules"  # npm's global packages
_ARCHIVE = re.compile(r"(?P<project>.+?)-\d.*\.(whl|tar\.gz|tgz|zip)")
_MOST = 1 << 26  # characters read per file
_SEPARATORS = re.compile(r"[-_.]+")


def find_installed(step: BakeStep, tree: str, lowers: tuple[str, ...], *, output: str = "") -> dict[str, str]:
    """Return the packages that a step with its changes in `tree` installed over `lowers`, topmost first.

    Packages whose files are in `output`, the output of `[build]`, are the project's own and not included.
    """
    if isinstance(step, Files | FromTarball | Copy):
        return {}
    before = next((found for lower in lowers if (found := _read_status(lower)) is not None), {})
    now = _read_status(tree)
    versions = {name: version for name, version in (now or {}).items() if before.get(name) != version}
    if isinstance(step, Run):
        own = _find_output_packages(output) if output else set()
        versions |= {
            name: version
            for name, version in (_find_python_packages(tree) | _find_node_packages(tree)).items()
            if name not in own
        }
    return dict(sorted(versions.items()))


def check_pins(step: BakeStep, versions: Mapping[str, str]) -> None:
    """Raise BakeFailed if the step installed other versions than its pins.

    A `run` step may add or omit packages, since its commands may have changed since the lock was written.
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
    raise build_mismatch_error(changed, base=describe(step) if isinstance(step, Bootstrap) else "")


def _read_status(tree: str) -> dict[str, str] | None:
    """Return the packages of dpkg's status file; None if the tree has none."""
    text = accounts.read_text(tree, STATUS, most=_MOST)
    if text is None:
        return None
    stated = (fields for fields in parse_installed(text) if "Package" in fields and "Version" in fields)
    return {fields["Package"]: fields["Version"] for fields in stated}


def _find_python_packages(tree: str) -> dict[str, str]:
    found = {}
    for directory, names, _files in os.walk(tree):
        if os.path.basename(directory) == _SITE:
            for name in names:
                if name.endswith(".dist-info"):
                    project, _, version = name.removesuffix(".dist-info").rpartition("-")
                    found[f"pip:{_SEPARATORS.sub('-', project).lower()}"] = version
            names.clear()
    return found


def _find_output_packages(output: str) -> set[str]:
    """Return the Python and npm packages whose wheels or archives are below a directory."""
    found = set()
    for _, _, names in os.walk(output):
        for name in names:
            if match := _ARCHIVE.fullmatch(name):
                project = match["project"]
                found |= {f"pip:{_SEPARATORS.sub('-', project).lower()}", f"npm:{project}"}
    return found


def _find_node_packages(tree: str) -> dict[str, str]:
    found = {}
    for root in (f"usr/{_MODULES}", f"usr/local/{_MODULES}"):
        for name in _list_modules(tree, root):
            text = accounts.read_text(tree, f"{root}/{name}/package.json", most=_MOST)
            with contextlib.suppress(ValueError, TypeError, KeyError):  # not installed by npm
                found[f"npm:{name}"] = str(jsontext.loads(text or "")["version"])
    return found


def _list_modules(tree: str, root: str) -> Iterator[str]:
    """Yield the modules in a directory, scoped ones as `@scope/name`. Symlinks do not escape the tree."""
    for name in _list_directory(tree, root):
        if name.startswith("@"):
            yield from (f"{name}/{inner}" for inner in _list_directory(tree, f"{root}/{name}"))
        else:
            yield name


def _list_directory(tree: str, path: str) -> list[str]:
    try:
        directory = syscalls.open_inside(tree, path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return []
    try:
        return os.listdir(directory)
    finally:
        os.close(directory)
