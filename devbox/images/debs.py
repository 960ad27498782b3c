"""Locked packages out of the download cache: those of a step as an apt repository of their own, which needs no network.

The cache belongs to this user alone, no container can write to it, and each package in it is one that the
distribution has signed (`aptcache`); so the repository is believed without a signature.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping

from devbox.host import process

_TRUSTED = "deb [trusted=yes] {method}:{path} ./\n"
_DATE = "Wed, 01 Jan 2025 00:00:00 UTC"  # apt wants one; it has no meaning here
_PINNED, _PREFERRED = 1001, 990  # above 1000 even over what is installed; above 500 over what a mirror offers


def offer(archives: str, place: str, versions: Mapping[str, str], *, suite: str) -> bool:
    """Make the directory `place` a repository of those of the packages that are cached; whether all are.

    It says of itself that it is the suite, by which mmdebstrap picks what belongs to a minimal system.
    """
    os.makedirs(place)
    cached = _cached(archives)
    found = [cached[key] for key in sorted(versions.items()) if key in cached]
    for name in found:
        _link(f"{archives}/{name}", f"{place}/{name}")
    index = "".join(_stanza(place, name) for name in found).encode()
    _write(f"{place}/Packages", index)
    total = f"SHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} Packages\n"
    _write(f"{place}/Release", f"Suite: {suite}\nCodename: {suite}\nDate: {_DATE}\n{total}".encode())
    return len(found) == len(versions)


def source(path: str, *, method: str = "file") -> str:
    """The line of a sources list for a repository at `path`, as who reads the list sees it.

    `method` "copy" has apt copy the packages to its archives, for whoever looks for them there.
    """
    return _TRUSTED.format(method=method, path=path)


def preferences(pins: Mapping[str, str] | None, prefer: Mapping[str, str]) -> str:
    """apt's preferences: the pins, whatever there is; else what is preferred, while it can be had."""
    priority, versions = (_PREFERRED, prefer) if pins is None else (_PINNED, pins)
    return "\n".join(
        f"Package: {name}\nPin: version {version}\nPin-Priority: {priority}\n"
        for name, version in sorted(versions.items())
    )


def keep(tree: str, archives: str) -> None:
    """Move the packages that were downloaded into a new system to the cache."""
    os.makedirs(archives, exist_ok=True)
    for entry in os.scandir(f"{tree}/var/cache/apt/archives"):
        if entry.name.endswith(".deb"):
            shutil.move(entry.path, f"{archives}/{entry.name}")


def _cached(archives: str) -> dict[tuple[str, str], str]:
    """The cached packages: (name, version) → file. apt writes `:` of a version as `%3a`."""
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
    except OSError:  # the cache lies on another disk
        shutil.copyfile(source, target)


def _stanza(place: str, name: str) -> str:
    path = f"{place}/{name}"
    with open(path, "rb") as package:
        digest = hashlib.file_digest(package, "sha256").hexdigest()
    fields = process.run(["dpkg-deb", "--field", path], purpose=f"read the cached package {name}").stdout.decode()
    return f"{fields.rstrip()}\nFilename: ./{name}\nSize: {os.path.getsize(path)}\nSHA256: {digest}\n\n"
