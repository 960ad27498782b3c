"""Required programs, and keyrings that verify distributions."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from devbox.doctor.checks import OK, PROBLEM, WARNING, CheckContext, CheckResult, convert_error
from devbox.errors import HostError
from devbox.host.programs import find
from devbox.images.bake import bootstrap
from devbox.isolation import namespaces

_ALWAYS = ("pasta", "nft", "mmdebstrap", "catatonit")
_SOMETIMES = {"buildah": "required for images from Dockerfiles"}
_ROOTLESS = ("newuidmap", "newgidmap")


def check_programs(ground: CheckContext) -> Iterator[CheckResult]:
    """Check each program; the remedy is its package."""
    for name in (*_ALWAYS, *(_ROOTLESS if ground.is_rootless else ())):
        try:
            path = find(name)
        except HostError as error:
            yield convert_error(name, error)
            continue
        if name in _ROOTLESS and not _can_map(path):
            sentence = f"missing permission of {path} to map ids (set-uid, or file capabilities)"
            yield CheckResult(name, PROBLEM, sentence, f"sudo chmod u+s {path}")
        else:
            yield CheckResult(name, OK, path)


def check_optional(_ground: CheckContext) -> Iterator[CheckResult]:
    """Check the programs needed by some env files only."""
    for name, why in _SOMETIMES.items():
        try:
            yield CheckResult(name, OK, find(name))
        except HostError as error:
            yield CheckResult(name, WARNING, f"{error.sentence}; {why}", error.remedy)


def check_oci_runtime(_ground: CheckContext) -> Iterator[CheckResult]:
    """Check the OCI runtime: crun, runc, or $DEVBOX_RUNTIME."""
    try:
        path = namespaces.check_runtime()
    except HostError as error:
        yield convert_error("OCI runtime", error)
    else:
        yield CheckResult("OCI runtime", OK, path)


def check_keyrings(_ground: CheckContext) -> Iterator[CheckResult]:
    """Check the keyrings for signed packages: Debian for most base systems, Ubuntu for some."""
    for distribution, state in (("debian", PROBLEM), ("ubuntu", WARNING)):
        try:
            yield CheckResult("package keys", OK, f"{distribution}: {bootstrap.require_keyring(distribution)}")
        except HostError as error:
            yield convert_error("package keys", error, state=state)


def _can_map(path: str) -> bool:
    if os.stat(path).st_mode & stat.S_ISUID:
        return True
    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError:
        return False
