"""Fetching secrets when a container starts. Their values go nowhere but into its environment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from devbox.errors import CommandFailed, EngineError, NotTrusted
from devbox.host import environ, files
from devbox.model.container import ContainerSpec, Secret
from devbox.model.resolved import HostAccess

_PATIENCE = 60.0  # seconds; a password manager may ask for a fingerprint


def host_access(containers: Iterable[ContainerSpec], *, root: str) -> tuple[HostAccess, ...]:
    """The secrets that reach beyond the project: commands on this machine, and files outside. Pure but for links."""
    found = (outside(spec.secrets, label=spec.label, where=spec.where, root=root) for spec in containers)
    return tuple(access for each in found for access in each)


def outside(wanted: Mapping[str, Secret], *, label: str, where: str, root: str) -> tuple[HostAccess, ...]:
    """Those of the secrets of one table that reach beyond the project."""
    return tuple(
        HostAccess(container=label, variable=variable, reference=reference, where=where, path=path)
        for variable, secret in wanted.items()
        if (path := _outside(reference := secret.reference, root)) is not None
    )


def fetch(wanted: Mapping[str, Secret], *, root: str, where: str, allowed: Iterable[HostAccess] = ()) -> dict[str, str]:
    """The values of "env:NAME", "file:PATH" and "cmd:COMMAND" (relative to the project); a missing one is an error.

    `allowed` is what the user has allowed of what `host_access` lists; all else is NotTrusted.
    """
    known = frozenset((access.reference, access.path) for access in allowed)
    return {name: _fetch(name, secret.reference, root, where, known) for name, secret in wanted.items()}


def _fetch(variable: str, reference: str, root: str, where: str, allowed: frozenset[tuple[str, str]]) -> str:
    kind, _, place = reference.partition(":")
    if kind == "cmd":
        if (reference, "") not in allowed:
            raise _not_allowed(variable, reference, where)
        return _from_command(variable, place, root, where)
    if kind == "env":
        if value := environ.get(place):
            return value
        raise _missing(variable, f"the variable {place} is not set", where, f"export {place}=…, then: devbox up")
    return _from_file(variable, reference, root, where, allowed)


def _from_file(variable: str, reference: str, root: str, where: str, allowed: frozenset[tuple[str, str]]) -> str:
    path = _path(reference, root)
    try:
        with files.opened(path) as (source, real):
            if not real:
                raise _missing(variable, f"{path} can't be read: it is not a file", where, f"see: ls -l {path}")
            if not (_within(real, root) or (reference, real) in allowed):
                raise _not_allowed(variable, f"{reference}, now {real}", where)
            value = source.read().decode().rstrip("\n")
    except FileNotFoundError:
        raise _missing(variable, f"there is no file {path}", where, f"write the secret into {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise _missing(variable, f"{path} can't be read: {why}", where, f"see: ls -l {path}") from None
    if not value:
        raise _missing(variable, f"the file {path} is empty", where, f"write the secret into {path}")
    return value


def _from_command(variable: str, command: str, root: str, where: str) -> str:
    """What a command of the project prints on this machine; its own complaint goes into the error, its output never."""
    from devbox.host import process

    done = process.run(
        ["/bin/sh", "-c", command], purpose=f"get the secret {variable}", cwd=root, check=False, timeout=_PATIENCE
    )
    value = done.stdout.decode(errors="replace").rstrip("\n")
    if done.returncode != 0 or not value:
        said = f"ended with {done.returncode}" if done.returncode else "printed nothing"
        raise CommandFailed(
            f"the secret {variable} is missing: its command `{command}` {said}",
            where=where,
            details=done.stderr.decode(errors="replace"),
            remedy=f"try it by hand, in {root}: {command}",
        )
    return value


def _not_allowed(variable: str, reference: str, where: str) -> NotTrusted:
    """It was looked at when the command began, and became something else since."""
    return NotTrusted(
        f"the secret {variable} comes from outside the project ({reference}), which you have not allowed",
        where=where,
        remedy="read it with `devbox trust --show`, then allow it with `devbox trust`",
    )


def _missing(variable: str, why: str, where: str, remedy: str) -> EngineError:
    return EngineError(f"the secret {variable} is missing: {why}", where=where, remedy=remedy)


def _outside(reference: str, root: str) -> str | None:
    """The file outside the project that a reference leads to; "" for a command, None for all that needs no trust."""
    kind = reference.partition(":")[0]
    if kind != "file":
        return "" if kind == "cmd" else None
    real = os.path.realpath(_path(reference, root))
    return None if _within(real, root) else real


def _within(real: str, root: str) -> bool:
    return real.startswith(f"{root.rstrip('/')}/")


def _path(reference: str, root: str) -> str:
    return os.path.join(root, os.path.expanduser(reference.partition(":")[2]))
