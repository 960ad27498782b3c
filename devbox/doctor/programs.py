"""The programs devbox starts, and the keys it checks distributions with."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from devbox.doctor.finding import OK, PROBLEM, WARNING, Finding, Ground, of_error
from devbox.errors import HostError
from devbox.host.programs import find
from devbox.images import mirrors
from devbox.isolation import contexts

_ALWAYS = ("pasta", "nft", "mmdebstrap", "catatonit")
_SOMETIMES = {"buildah": "images from Dockerfiles need it"}
_ROOTLESS = ("newuidmap", "newgidmap")


def programs(ground: Ground) -> Iterator[Finding]:
    """Each program by name, with the package that brings it."""
    for name in (*_ALWAYS, *(_ROOTLESS if ground.rootless else ())):
        try:
            path = find(name)
        except HostError as error:
            yield of_error(name, error)
            continue
        if name in _ROOTLESS and not _may_map(path):
            sentence = f"{path} lacks the right to map ids (set-uid, or file capabilities)"
            yield Finding(name, PROBLEM, sentence, f"sudo chmod u+s {path}")
        else:
            yield Finding(name, OK, path)


def optional(_ground: Ground) -> Iterator[Finding]:
    """The programs that only some env files need."""
    for name, why in _SOMETIMES.items():
        try:
            yield Finding(name, OK, find(name))
        except HostError as error:
            yield Finding(name, WARNING, f"{error.sentence}; {why}", error.remedy)


def runtime(_ground: Ground) -> Iterator[Finding]:
    """The OCI runtime that is used: crun, runc, or what $DEVBOX_RUNTIME names."""
    try:
        path = contexts.check_runtime()
    except HostError as error:
        yield of_error("OCI runtime", error)
    else:
        yield Finding("OCI runtime", OK, path)


def keyrings(_ground: Ground) -> Iterator[Finding]:
    """Bases are made from signed packages: most from Debian's, some from Ubuntu's."""
    for distribution, state in (("debian", PROBLEM), ("ubuntu", WARNING)):
        try:
            yield Finding("package keys", OK, f"{distribution}: {mirrors.require_keyring(distribution)}")
        except HostError as error:
            yield of_error("package keys", error, state=state)


def _may_map(path: str) -> bool:
    if os.stat(path).st_mode & stat.S_ISUID:
        return True
    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError:
        return False
