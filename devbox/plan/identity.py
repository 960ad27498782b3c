"""Identities compared by plans. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

from devbox.model import codec, ids
from devbox.model.container import ContainerSpec, Setup

# Not part of a container's identity: order and setup have their own steps, the others are informational.
_NOT_IDENTITY = ("where", "label", "needs", "setup")
_FINGERPRINT = 4  # hexadecimal digits


def fingerprint(spec: ContainerSpec) -> ContainerSpec:
    """Replace each variable's value by a short fingerprint, which may be stored to explain a change.

    Many values share a fingerprint of this length, so that it does not reveal a secret to a guess.
    """
    env = {
        name: ids.compute_sha256(value.encode(errors="surrogateescape"))[-_FINGERPRINT:]
        for name, value in spec.env.items()
    }
    return dataclasses.replace(spec, env=env)


def build_identity(spec: ContainerSpec) -> dict[str, Any]:
    """Return the fields of a spec that identify its container."""
    plain: dict[str, Any] = codec.dump(spec)
    return {name: value for name, value in plain.items() if name not in _NOT_IDENTITY}


def compute_spec_key(spec: ContainerSpec) -> str:
    """Return the identity of a container without its image."""
    return ids.compute_key(build_identity(spec))


def compute_setup_key(setup: Setup, files: dict[str, str]) -> str:
    """Return the identity of a setup: its commands and the contents of its inputs."""
    return ids.compute_key({"commands": codec.dump(setup.commands), "files": files})
