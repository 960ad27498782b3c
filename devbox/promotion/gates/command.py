"""Gate `command`: the exit code of a command on the host, run in the project directory.

`why` runs the command, too. Input: DEVBOX_STAGE, DEVBOX_RELEASE and DEVBOX_DIGEST.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping

from devbox.envfile import secrets
from devbox.errors import CommandFailed, DevboxError, HostError, to_one_line
from devbox.host import environ, programs
from devbox.host.process import BoundedRun, run_bounded
from devbox.isolation.logs import Mask
from devbox.model import ids
from devbox.model.container import Secret
from devbox.model.host_access import HostAccess
from devbox.model.plan import FAIL, PASS, PENDING, Verdict
from devbox.model.release import Release
from devbox.model.stage import CommandGate, Stage
from devbox.promotion.gates.context import GateContext, compute_expiry, format_timestamp

_PASSPHRASE = "DEVBOX_KEY_PASSPHRASE"  # noqa: S105 - name of a variable
KEPT = 4096  # bytes of the output in the ledger and in records
_HALF = 2000  # bytes of its start and of its end, with room for the line in between


def mask_output(run: BoundedRun, values: tuple[str, ...]) -> str:
    """Mask the values, then cut the output to KEPT bytes: start, total size and end."""
    mask = Mask(values)
    if run.is_whole:
        whole = _sanitize(mask.mask_line(run.head + run.tail))
        if len(whole) <= KEPT:
            return _decode(whole)
        return _join_cut(whole[:_HALF], whole[-_HALF:], run.size)
    # A value across the cut is invisible to the mask: drop the longest value's length on both sides.
    longest = max((len(value.encode(errors="surrogateescape")) for value in values), default=0)
    head, tail = (mask.mask_line(part) for part in (run.head, run.tail))
    return _join_cut(_sanitize(head[: len(head) - longest])[:_HALF], _sanitize(tail[longest:])[-_HALF:], run.size)


def list_secrets(stage: Stage, release: Release) -> dict[str, Secret]:
    """Return all secrets of the stage's processes, external services and metrics, under unique names."""
    processes = release.config.get_stage_processes(stage.environment)
    found = {f"{name}.{key}": each for name, process in processes.items() for key, each in process.secrets.items()}
    found |= stage.secrets
    for need, variables in stage.external.items():
        found |= {f"{need}.{name}": Secret(reference=place) for name, place in variables.items()}
    headers = (metric for metric in stage.strategy.outside if metric.authorization)
    return found | {f"{metric.name}.authorization": Secret(reference=metric.authorization) for metric in headers}


def find_values(
    desired: Mapping[str, Secret], *, root: str, where: str, allowed: Iterable[HostAccess]
) -> tuple[tuple[str, ...], str]:
    """Fetch the values to mask; also return the name of one whose command fails, "" for none.

    Includes the passphrase of the signing key if a variable has it. Unset variables and missing files have no value
    that could be printed.
    """
    found, failed, allowed = _read_passphrase(), "", tuple(allowed)
    for name, secret in desired.items():
        try:
            values = secrets.fetch({name: secret}, root=root, where=where, allowed=allowed)
        except DevboxError:
            failed = name if secrets.may_prompt(secret) else failed
        else:
            # An authorization header is a scheme and the credentials; either may be printed alone.
            found += [values[name], *(values[name].split(" ")[1:] if name.endswith(".authorization") else ())]
    return tuple(found), failed


def _read_passphrase() -> list[str]:
    """Return the passphrase of the signing key, which a command inherits in its environment."""
    value = environ.get(_PASSPHRASE)
    return [] if not value or value.startswith(("file:", "cmd:")) else [value]


def _sanitize(data: bytes) -> bytes:
    """Return UTF-8 without NUL, as required for signed records."""
    return data.decode(errors="replace").replace("\0", "\ufffd").encode()


def _join_cut(first: bytes, last: bytes, size: int) -> str:
    return f"{_decode(first)}\n… {_format_size(size)} in total, cut here …\n{_decode(last)}"


def _decode(data: bytes) -> str:
    """Decode bytes that may start and end within a character."""
    return data.decode(errors="ignore")


def _format_size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB" if count >= 1 << 20 else f"{count} bytes"


TIMEOUT = 300.0  # seconds
_SHELL = ("/bin/sh", "-c")
_SHOWN = 200  # characters of the last line in the reason


def judge(gate: CommandGate, context: GateContext) -> Verdict:
    """Pass if the command exits with 0. Runs only commands allowed by `devbox trust`."""
    shown = gate.run[-1] if gate.run[: len(_SHELL)] == _SHELL else shlex.join(gate.run)
    subject = f"{gate.op} `{shown}`"
    if not context.trusted:
        reason = "not allowed to run on the host; allow it with: devbox trust"
        return Verdict(subject=subject, verdict=PENDING, reason=reason)
    done = _run(gate, context, shown)
    kept = _mask_run(done, context)
    evidence = ids.compute_key([*gate.run, done.code, ids.compute_sha256(kept.encode())])
    last = to_one_line(kept.strip().rpartition("\n")[2][:_SHOWN])
    detail = f": {last}" if last else ""
    if done.code is None:
        reason = f"timed out: killed after {TIMEOUT:.0f} s{detail}"
        return Verdict(subject=subject, verdict=FAIL, reason=reason, evidence=evidence, output=kept)
    if done.code:
        reason = f"exited with code {done.code}{detail}"
        return Verdict(subject=subject, verdict=FAIL, reason=reason, evidence=evidence, output=kept)
    expires = compute_expiry(format_timestamp(context.now), gate.expires)
    return Verdict(
        subject=subject, verdict=PASS, reason=f"yes{detail}", evidence=evidence, expires_at=expires, output=kept
    )


def _run(gate: CommandGate, context: GateContext, shown: str) -> BoundedRun:
    described = {
        "DEVBOX_STAGE": context.stage.name,
        "DEVBOX_RELEASE": context.release.id,
        "DEVBOX_DIGEST": context.release.image,
    }
    try:
        return run_bounded(
            gate.run, env=environ.copy_environment() | described, cwd=context.instance.root, timeout=TIMEOUT
        )
    except FileNotFoundError:
        package = programs.PACKAGES.get(gate.run[0], gate.run[0])
        raise HostError(
            f"cannot run {shown}: {gate.run[0]} not found", remedy=f"sudo apt-get install {package}"
        ) from None
    except OSError as error:
        raise CommandFailed(f"cannot run {shown}: {error.strerror}", remedy=f"see: ls -l {gate.run[0]}") from None


def _mask_run(done: BoundedRun, context: GateContext) -> str:
    """Mask and cut the output. Secrets are fetched only if something was printed."""
    if not done.size:
        return ""
    values, unknown = find_values(
        list_secrets(context.stage, context.release),
        root=context.instance.root,
        where=context.stage.where,
        allowed=context.allowed,
    )
    if unknown:
        return f"(output not kept: the secret {unknown} cannot be fetched, so it cannot be masked)"
    return mask_output(done, values)
