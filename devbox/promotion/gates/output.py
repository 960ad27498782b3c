"""What is kept of a gate's output: at most 4 KiB, without the values of the stage's secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from devbox.envfile import secrets
from devbox.errors import DevboxError
from devbox.host import environ
from devbox.host.bounded import BoundedRun
from devbox.isolation.masking import Mask
from devbox.model.container import Secret
from devbox.model.release import Release
from devbox.model.resolved import HostAccess
from devbox.model.stage import Stage

_PASSPHRASE = "DEVBOX_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable
KEPT = 4096  # bytes of the output that the ledger and records contain
_HALF = 2000  # bytes from its beginning and from its end, with room for the line between them


def keep(run: BoundedRun, values: tuple[str, ...]) -> str:
    """Mask the values, then cut to KEPT bytes: beginning and end of the output, and between them its size."""
    mask = Mask(values)
    if run.is_whole:
        whole = _valid(mask.line(run.head + run.tail))
        if len(whole) <= KEPT:
            return _text(whole)
        return _joined(whole[:_HALF], whole[-_HALF:], run.size)
    # A value may lie across the cut, where the mask does not see it: so much is left out on both sides.
    longest = max((len(value.encode(errors="surrogateescape")) for value in values), default=0)
    head, tail = (mask.line(part) for part in (run.head, run.tail))
    return _joined(_valid(head[: len(head) - longest])[:_HALF], _valid(tail[longest:])[-_HALF:], run.size)


def of_stage(stage: Stage, release: Release) -> dict[str, Secret]:
    """All secrets that the stage's processes, external services and metrics use, by a name that is unique here."""
    processes = release.config.of_stage(stage.environment)
    found = {f"{name}.{key}": each for name, process in processes.items() for key, each in process.secrets.items()}
    found |= stage.secrets
    for need, variables in stage.external.items():
        found |= {f"{need}.{name}": Secret(reference=place) for name, place in variables.items()}
    headers = (metric for metric in stage.strategy.outside if metric.authorization)
    return found | {f"{metric.name}.authorization": Secret(reference=metric.authorization) for metric in headers}


def find_values(
    wanted: Mapping[str, Secret], *, root: str, where: str, allowed: Iterable[HostAccess]
) -> tuple[tuple[str, ...], str]:
    """Fetch the values to mask, and the name of one whose command fails ("" for none), which could be printed as well.

    The passphrase of a key that signs is among the values if a variable has it.

    A variable that is not set and a file that does not exist have no value that a program here could print.
    """
    found, failed, allowed = _passphrase(), "", tuple(allowed)
    for name, secret in wanted.items():
        try:
            values = secrets.fetch({name: secret}, root=root, where=where, allowed=allowed)
        except DevboxError:
            failed = name if secrets.asks(secret) else failed
        else:
            # The value of an authorization header is a scheme and the credentials: either may be printed alone.
            found += [values[name], *(values[name].split(" ")[1:] if name.endswith(".authorization") else ())]
    return tuple(found), failed


def _passphrase() -> list[str]:
    """The passphrase of the keys that sign here, which a command gets with the environment."""
    value = environ.get(_PASSPHRASE)
    return [] if not value or value.startswith(("file:", "cmd:")) else [value]


def _valid(data: bytes) -> bytes:
    """UTF-8 without NUL, as signed records may have it."""
    return data.decode(errors="replace").replace("\0", "\ufffd").encode()


def _joined(first: bytes, last: bytes, size: int) -> str:
    return f"{_text(first)}\n… {_size(size)} in total, cut here …\n{_text(last)}"


def _text(data: bytes) -> str:
    """Decode bytes that may begin and end within a character."""
    return data.decode(errors="ignore")


def _size(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB" if count >= 1 << 20 else f"{count} bytes"
