"""The gate `command`: a command on this machine, in the project directory, whose exit code is the answer.

`why` runs it as well. DEVBOX_STAGE, DEVBOX_RELEASE and DEVBOX_DIGEST say what it is asked about.
"""

from __future__ import annotations

import shlex

from devbox.errors import CommandFailed, HostError, one_line
from devbox.host import environ, programs
from devbox.host.bounded import BoundedRun, run_bounded
from devbox.model import ids
from devbox.model.stage import CommandGate
from devbox.model.verdict import FAIL, PASS, PENDING, Verdict
from devbox.promotion.gates import output
from devbox.promotion.gates.contract import GateContext, expiry, written

TIMEOUT = 300.0  # seconds
_SHELL = ("/bin/sh", "-c")
_SHOWN = 200  # characters of the last line that the reason has


def judge(gate: CommandGate, context: GateContext) -> Verdict:
    """Pass if the command exits with 0. Nothing runs that `devbox trust` has not allowed."""
    shown = gate.run[-1] if gate.run[: len(_SHELL)] == _SHELL else shlex.join(gate.run)
    subject = f"{gate.op} `{shown}`"
    if not context.trusted:
        reason = "it runs on this machine, which you have not allowed: devbox trust"
        return Verdict(subject=subject, verdict=PENDING, reason=reason)
    done = _run(gate, context, shown)
    kept = _kept(done, context)
    evidence = ids.key_of([*gate.run, done.code, ids.sha256(kept.encode())])
    last = one_line(kept.strip().rpartition("\n")[2][:_SHOWN])
    said = f": {last}" if last else ""
    if done.code is None:
        reason = f"it was killed after {TIMEOUT:.0f} s without an end{said}"
        return Verdict(subject=subject, verdict=FAIL, reason=reason, evidence=evidence, output=kept)
    if done.code:
        reason = f"it ended with {done.code}{said}"
        return Verdict(subject=subject, verdict=FAIL, reason=reason, evidence=evidence, output=kept)
    expires = expiry(written(context.now), gate.expires)
    return Verdict(
        subject=subject, verdict=PASS, reason=f"yes{said}", evidence=evidence, expires_at=expires, output=kept
    )


def _run(gate: CommandGate, context: GateContext, shown: str) -> BoundedRun:
    asked = {
        "DEVBOX_STAGE": context.stage.name,
        "DEVBOX_RELEASE": context.release.id,
        "DEVBOX_DIGEST": context.release.image,
    }
    try:
        return run_bounded(gate.run, env=environ.snapshot() | asked, cwd=context.instance.root, timeout=TIMEOUT)
    except FileNotFoundError:
        package = programs.PACKAGES.get(gate.run[0], gate.run[0])
        raise HostError(
            f"could not run {shown}: {gate.run[0]} not found", remedy=f"sudo apt-get install {package}"
        ) from None
    except OSError as error:
        raise CommandFailed(f"could not run {shown}: {error.strerror}", remedy=f"see: ls -l {gate.run[0]}") from None


def _kept(done: BoundedRun, context: GateContext) -> str:
    """Mask and cut the output. Secrets are fetched only if something was printed."""
    if not done.size:
        return ""
    values, unknown = output.find_values(
        output.of_stage(context.stage, context.release),
        root=context.instance.root,
        where=context.stage.where,
        allowed=context.allowed,
    )
    if unknown:
        return f"(output not kept: the secret {unknown} cannot be fetched, so it cannot be masked)"
    return output.keep(done, values)
