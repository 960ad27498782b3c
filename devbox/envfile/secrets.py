"""Fetching secrets when a container starts. Their values go nowhere but into its environment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from devbox.errors import CommandFailed, EngineError
from devbox.host import environ
from devbox.model.container import ContainerSpec
from devbox.model.resolved import HostAccess

_PATIENCE = 60.0  # seconds; a password manager may ask for a fingerprint


def host_access(containers: Iterable[ContainerSpec], *, root: str) -> tuple[HostAccess, ...]:
    """The secrets that reach beyond the project: commands on this machine, and files outside. Pure but for links."""
    return tuple(
        HostAccess(container=spec.label, variable=variable, reference=reference, where=spec.where)
        for spec in containers
        for variable, reference in spec.secrets.items()
        if _reaches_out(reference, root)
    )


def fetch(references: Mapping[str, str], *, root: str, where: str) -> dict[str, str]:
    """The values of "env:NAME", "file:PATH" and "cmd:COMMAND" (relative to the project); a missing one is an error.

    What `host_access` lists is fetched, too: whoever calls has asked for trust before.
    """
    return {variable: _fetch(variable, reference, root, where) for variable, reference in references.items()}


def _fetch(variable: str, reference: str, root: str, where: str) -> str:
    kind, _, place = reference.partition(":")
    if kind == "cmd":
        return _from_command(variable, place, root, where)
    if kind == "env":
        if value := environ.get(place):
            return value
        raise _missing(variable, f"the variable {place} is not set", where, f"export {place}=…, then: devbox up")
    return _from_file(variable, place, root, where)


def _from_file(variable: str, place: str, root: str, where: str) -> str:
    path = _path(place, root)
    try:
        with open(path, encoding="utf-8") as source:
            value = source.read().rstrip("\n")
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


def _missing(variable: str, why: str, where: str, remedy: str) -> EngineError:
    return EngineError(f"the secret {variable} is missing: {why}", where=where, remedy=remedy)


def _reaches_out(reference: str, root: str) -> bool:
    kind, _, place = reference.partition(":")
    return kind == "cmd" or (kind == "file" and not os.path.realpath(_path(place, root)).startswith(f"{root}/"))


def _path(place: str, root: str) -> str:
    return os.path.join(root, os.path.expanduser(place))
