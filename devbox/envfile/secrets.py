"""Resolution of secrets at container start. Values are passed only to the container's environment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from devbox.errors import CommandFailed, EngineError, NotTrusted
from devbox.host import environ, files, safe_files
from devbox.model.container import ContainerSpec, Secret
from devbox.model.host_access import HostAccess, SecretAccess

_PATIENCE = 60.0  # seconds; a password manager may ask for a fingerprint even without a terminal
_TERMINALS = ("GPG_TTY", "SSH_TTY")  # variables that would reveal a terminal to a program without one


def list_host_access(containers: Iterable[ContainerSpec], *, root: str) -> tuple[SecretAccess, ...]:
    """Return the secrets that reach beyond the project: host commands and outside files. Pure except for links."""
    found = (list_outside(spec.secrets, label=spec.label, where=spec.where, root=root) for spec in containers)
    return tuple(access for each in found for access in each)


def list_outside(secrets: Mapping[str, Secret], *, label: str, where: str, root: str) -> tuple[SecretAccess, ...]:
    """Return the secrets of one table that reach beyond the project."""
    return tuple(
        SecretAccess(container=label, variable=variable, reference=reference, where=where, path=path)
        for variable, secret in secrets.items()
        if (path := _find_outside(reference := secret.reference, root)) is not None
    )


def may_prompt(secret: Secret) -> bool:
    """True if fetching the secret may prompt the user."""
    return secret.reference.startswith("cmd:")


def fetch(
    secrets: Mapping[str, Secret],
    *,
    root: str,
    where: str,
    allowed: Iterable[HostAccess] = (),
    terminal: int | None = None,
) -> dict[str, str]:
    """Return the values of "env:NAME", "file:PATH" and "cmd:COMMAND" (relative to the project).

    `allowed`: host access allowed by the user, see `list_host_access`; all else raises NotTrusted. A missing value is
    an error. Commands may prompt on `terminal` (a descriptor); otherwise they get no terminal.
    """
    known = frozenset((each.reference, each.path) for each in (access.record() for access in allowed))
    found = {}
    for name, secret in secrets.items():
        if may_prompt(secret):
            if (secret.reference, "") not in known:
                raise _build_not_allowed(name, secret.reference, where)
            found[name] = _run_command(name, secret.reference.partition(":")[2], root, where, terminal)
        else:
            found[name] = _fetch(name, secret.reference, root, where, known)
    return found


def _fetch(variable: str, reference: str, root: str, where: str, allowed: frozenset[tuple[str, str]]) -> str:
    kind, _, place = reference.partition(":")
    if kind == "env":
        if value := environ.get(place):
            return value
        raise _build_missing(
            variable, f"the variable {place} is not set", where, f"export {place}=…, and repeat the command"
        )
    return _read_file(variable, reference, root, where, allowed)


def _read_file(variable: str, reference: str, root: str, where: str, allowed: frozenset[tuple[str, str]]) -> str:
    path = _resolve_path(reference, root)
    try:
        with files.open_regular(path) as (source, real):
            if not real:
                raise _build_missing(variable, f"cannot read {path}: not a file", where, f"check it with: ls -l {path}")
            if not (_is_within(real, root) or (reference, real) in allowed):
                raise _build_not_allowed(variable, f"{reference}, now {real}", where)
            value = safe_files.read_all(source, path).decode().rstrip("\n")
    except FileNotFoundError:
        raise _build_missing(variable, f"{path} not found", where, f"write the secret into {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise _build_missing(variable, f"cannot read {path}: {why}", where, f"check it with: ls -l {path}") from None
    if not value:
        raise _build_missing(variable, f"{path} is empty", where, f"write the secret into {path}")
    return value


def _run_command(variable: str, command: str, root: str, where: str, terminal: int | None) -> str:
    """Return the output of a host command; an error includes its stderr, never its output."""
    from devbox.host import process

    env = environ.copy_environment()
    if terminal is None:
        env = {name: value for name, value in env.items() if name not in _TERMINALS}
    elif os.isatty(terminal):
        env |= {"GPG_TTY": os.ttyname(terminal)}
    done = process.query_bounded(["/bin/sh", "-c", command], env=env, cwd=root, terminal=terminal, timeout=_PATIENCE)
    value = done.out.decode(errors="replace").rstrip("\n")
    if done.code == 0 and value:
        return value
    failure = "printed nothing"
    if done.is_too_long:
        failure = f"printed more than {process.LIMIT >> 20} MiB and was killed"
    elif done.code is None:
        failure = f"timed out after {_PATIENCE:.0f} s"
    elif done.code:
        failure = f"exited with code {done.code}"
    remedy = f"reproduce it in {root} with: {command}"
    if terminal is None:
        remedy += "; a prompt requires that devbox runs on a terminal"
    raise CommandFailed(
        f"missing secret {variable}: its command `{command}` {failure}",
        where=where,
        details="" if done.is_too_long else done.err.decode(errors="replace"),
        remedy=remedy,
    )


def _build_not_allowed(variable: str, reference: str, where: str) -> NotTrusted:
    """Return the error for a file that was replaced since the command started."""
    return NotTrusted(
        f"the secret {variable} comes from outside the project ({reference}), which you have not allowed",
        where=where,
        remedy="review it with `devbox trust --show`, then allow it with `devbox trust`",
    )


def _build_missing(variable: str, why: str, where: str, remedy: str) -> EngineError:
    return EngineError(f"missing secret {variable}: {why}", where=where, remedy=remedy)


def _find_outside(reference: str, root: str) -> str | None:
    """Return the outside file of a reference; "" for a command, None if no trust is required."""
    kind = reference.partition(":")[0]
    if kind != "file":
        return "" if kind == "cmd" else None
    real = os.path.realpath(_resolve_path(reference, root))
    return None if _is_within(real, root) else real


def _is_within(real: str, root: str) -> bool:
    return real.startswith(f"{root.rstrip('/')}/")


def _resolve_path(reference: str, root: str) -> str:
    return os.path.join(root, os.path.expanduser(reference.partition(":")[2]))
