"""Identities that plans compare. Pure."""

from __future__ import annotations

import dataclasses
from typing import Any

from devbox.model import codec, ids
from devbox.model.container import ContainerSpec, Setup

# Changing these does not make another container: order and setup are acted on by themselves, the rest is for people.
_NOT_IDENTITY = ("where", "label", "needs", "setup")
_FINGERPRINT = 4  # hexadecimal digits


def fingerprint(spec: ContainerSpec) -> ContainerSpec:
    """The spec with a short fingerprint in the place of each variable's value: what may be kept to explain a change.

    So short that many values share one: a kept fingerprint does not give a secret away to who guesses.
    """
    env = {
        name: ids.compute_sha256(value.encode(errors="surrogateescape"))[-_FINGERPRINT:]
        for name, value in spec.env.items()
    }
    return dataclasses.replace(spec, env=env)


def build_identity(spec: ContainerSpec) -> dict[str, Any]:
    """The part of a spec that a container is made from."""
    plain: dict[str, Any] = codec.dump(spec)
    return {name: value for name, value in plain.items() if name not in _NOT_IDENTITY}


def compute_spec_key(spec: ContainerSpec) -> str:
    """The identity of a container, its image aside."""
    return ids.compute_key(build_identity(spec))


def compute_setup_key(setup: Setup, files: dict[str, str]) -> str:
    """The identity of a setup: its commands and the contents of its inputs."""
    return ids.compute_key({"commands": codec.dump(setup.commands), "files": files})
