"""The gate `command`: a command on this machine, in the project directory, that only answers yes or no.

It is run by `why`, too. It learns what is asked from DEVBOX_STAGE, DEVBOX_RELEASE and DEVBOX_DIGEST.
"""

from __future__ import annotations

import shlex

from devbox.errors import CommandFailed
from devbox.host import environ, process
from devbox.model import ids
from devbox.model.stage import CommandGate
from devbox.model.verdict import FAIL, PASS, PENDING, Verdict
from devbox.promotion.gates.contract import GateContext, expiry, written

_PATIENCE = 300.0  # seconds
_SHELL = ("/bin/sh", "-c")


def judge(gate: CommandGate, context: GateContext) -> Verdict:
    """Pass where it ends with 0. Nothing is run that was not allowed by `devbox trust`."""
    shown = gate.run[-1] if gate.run[: len(_SHELL)] == _SHELL else shlex.join(gate.run)
    subject = f"{gate.op} `{shown}`"
    if not context.trusted:
        reason = "it runs on this machine, which you have not allowed: devbox trust"
        return Verdict(subject=subject, verdict=PENDING, reason=reason)
    asked = {
        "DEVBOX_STAGE": context.stage.name,
        "DEVBOX_RELEASE": context.release.id,
        "DEVBOX_DIGEST": context.release.image,
    }
    try:
        done = process.run(
            gate.run,
            purpose=f"ask {shown}",
            env=environ.snapshot() | asked,
            cwd=context.instance.root,
            check=False,
            timeout=_PATIENCE,
        )
    except OSError as error:
        raise CommandFailed(f"{shown} can't be run: {error.strerror}", remedy=f"see: ls -l {gate.run[0]}") from None
    output = done.stdout + done.stderr
    evidence = ids.key_of([*gate.run, done.returncode, ids.sha256(output)])
    last = output.decode(errors="replace").strip().rpartition("\n")[2]
    said = f": {last}" if last else ""
    if done.returncode:
        reason = f"it ended with {done.returncode}{said}"
        return Verdict(subject=subject, verdict=FAIL, reason=reason, evidence=evidence)
    expires = expiry(written(context.now), gate.expires)
    return Verdict(subject=subject, verdict=PASS, reason=f"yes{said}", evidence=evidence, expires_at=expires)
