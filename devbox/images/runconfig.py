"""How an image of a registry wants to be run, from its OCI config. Pure; what is malformed counts as unsaid."""

from __future__ import annotations

import signal
from typing import Any

from devbox.model.container import Health
from devbox.model.image import ImageConfig

_NANO = 1e9
_PATIENCE = 60.0  # seconds to become healthy in, which images seldom set: their own default is none at all


def run_config(plain: dict[str, Any]) -> ImageConfig:
    """The config, nothing of it left open: root by number, since an image may have no names of users."""
    stop = str(plain.get("StopSignal") or "TERM").upper().removeprefix("SIG")
    if stop.isdigit() and int(stop) in set(signal.Signals):
        stop = signal.Signals(int(stop)).name.removeprefix("SIG")
    env = dict(entry.split("=", 1) for entry in _words(plain.get("Env")) if "=" in entry)
    return ImageConfig(
        env=env,
        entrypoint=_words(plain.get("Entrypoint")),
        command=_words(plain.get("Cmd")),
        workdir=str(plain.get("WorkingDir") or "/"),
        user=str(plain.get("User") or "0"),
        stop_signal=stop if f"SIG{stop}" in signal.Signals.__members__ else "TERM",
        exposed=tuple(sorted(plain.get("ExposedPorts") or ())),
        health=_health(plain.get("Healthcheck")),
    )


def _health(plain: Any) -> Health | None:
    """Docker's HEALTHCHECK as a probe."""
    test = _words(plain.get("Test")) if isinstance(plain, dict) else ()
    if not test or test[0] not in ("CMD", "CMD-SHELL"):
        return None
    command = ("/bin/sh", "-c", test[1]) if test[0] == "CMD-SHELL" else test[1:]
    return Health(
        command=command,
        interval=_seconds(plain.get("Interval")) or Health.interval,
        timeout=_seconds(plain.get("Timeout")) or Health.timeout,
        retries=plain.get("Retries") or Health.retries,
        start_period=max(_seconds(plain.get("StartPeriod")), _PATIENCE),
    )


def _words(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def _seconds(value: Any) -> float:
    return value / _NANO if isinstance(value, int) else 0.0
