"""Package lists of a distribution on the host: names, versions and summaries, without a container.

The lists that bakes have downloaded and verified are used if there are any; else apt of the host, which is installed
with mmdebstrap, downloads them and verifies them with the keys of the distribution.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import NamedTuple

from devbox.errors import HostError
from devbox.host import host_settings, process
from devbox.host.paths import Paths
from devbox.images.bake import apt, bootstrap
from devbox.images.bake.apt_cache import AptCache
from devbox.model.image import Bootstrap

_LIST = "_Packages"
_DAY = 24 * 3600.0
_NAME, _VERSION, _SUMMARY = "Package: ", "Version: ", "Description: "


class AptPackage(NamedTuple):
    """A package of a distribution, in the version that an image would get."""

    name: str
    version: str
    summary: str


def find_lists(paths: Paths, base: Bootstrap) -> list[str]:
    """Return the paths of the package lists on the host, those with the latest updates last; [] if there are none."""
    found = _list_files(AptCache(paths, base).lists) or _list_files(_get_directory(paths, base))
    return sorted(found, key=lambda path: ("-security" in path, "-updates" in path))


def ensure_lists(paths: Paths, base: Bootstrap) -> list[str]:
    """Return the package lists; they are downloaded if there are none, or if the last download is a day old.

    HostError if the mirror is unreachable or a list is forged.
    """
    found, downloaded = find_lists(paths, base), f"{_get_directory(paths, base)}.list"
    if found and os.path.dirname(found[0]) != _get_directory(paths, base):
        return found  # of bakes, which update them
    if not found or time.time() - os.stat(downloaded).st_mtime > _DAY:
        download_lists(paths, base)
    return find_lists(paths, base)


def download_lists(paths: Paths, base: Bootstrap) -> None:
    """Download the package lists of a distribution. HostError if the mirror is unreachable or a list is forged."""
    bootstrap.check_names(base)
    bootstrap.require_keyring(base.distribution)
    directory = _get_directory(paths, base)
    os.makedirs(f"{directory}/partial", exist_ok=True)
    sources = f"{directory}.list"
    with open(sources, "w", encoding="ascii") as listing:
        listing.write(bootstrap.build_local_sources(base))
    system = f"{base.distribution} {base.suite}"
    argv = build_argv(process.find("apt-get"), directory, sources, ca_file=host_settings.find_ca_file())
    done = process.run(argv, purpose=f"download the package lists of {system}", check=False)
    if done.returncode:
        output = (done.stdout + done.stderr).decode(errors="replace")
        cause = apt.explain(output, system=system)
        sentence = cause.sentence or f"cannot download the package lists of {system}"
        raise HostError(sentence, details=cause.evidence, remedy=cause.remedy or "find the cause with: devbox doctor")


def build_argv(program: str, directory: str, sources: str, *, ca_file: str = "") -> list[str]:
    """Build the apt-get call; it touches nothing of the host's own apt. Pure."""
    settings = {
        "Dir::State": f"{directory}.state",
        "Dir::State::lists": directory,
        "Dir::State::status": "/dev/null",
        "Dir::Cache": f"{directory}.cache",
        "Dir::Etc": "/nonexistent",
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/nonexistent",
        "Acquire::Languages": "none",
        "Acquire::GzipIndexes": "false",
        "Acquire::Retries": "3",
        "APT::Update::Error-Mode": "any",
        "APT::Sandbox::User": "",
        **({"Acquire::https::CAInfo": ca_file} if ca_file else {}),
    }
    return [program, *(word for name, value in settings.items() for word in ("-o", f"{name}={value}")), "update"]


def read_packages(lists: list[str]) -> dict[str, AptPackage]:
    """Return the packages of lists by name, in the version of the last list that has each."""
    return {package.name: package for path in lists for package in _read_list(path)}


def _read_list(path: str) -> Iterator[AptPackage]:
    name = version = ""
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith(_NAME):
                name = line[len(_NAME) :].rstrip()
            elif line.startswith(_VERSION):
                version = line[len(_VERSION) :].rstrip()
            elif line.startswith(_SUMMARY):
                yield AptPackage(name, version, line[len(_SUMMARY) :].rstrip())


def _get_directory(paths: Paths, base: Bootstrap) -> str:
    return f"{os.path.dirname(AptCache(paths, base).lists)}/searched"


def _list_files(directory: str) -> list[str]:
    try:
        return [f"{directory}/{name}" for name in os.listdir(directory) if name.endswith(_LIST)]
    except FileNotFoundError:
        return []
