"""How an image of a registry wants to be run, from its OCI config. Pure; what is malformed counts as unsaid."""

from __future__ import annotations

from typing import Any

from devbox.host import signals
from devbox.model.container import Health
from devbox.model.image import ImageConfig

_NANO = 1e9
_A_PROBE = 2  # words at least: how, and what
_PATIENCE = 60.0  # seconds to become healthy in, which images seldom set: their own default is none at all


def run_config(told: Any) -> ImageConfig:
    """The config, nothing of it left open: root by number, since an image may have no names of users."""
    plain = told if isinstance(told, dict) else {}
    stop = signals.number(_text(plain.get("StopSignal")))
    env = dict(entry.split("=", 1) for entry in _words(plain.get("Env")) if "=" in entry)
    exposed, volumes = plain.get("ExposedPorts"), plain.get("Volumes")
    return ImageConfig(
        env=env,
        entrypoint=_words(plain.get("Entrypoint")),
        command=_words(plain.get("Cmd")),
        workdir=_line(plain.get("WorkingDir")) or "/",
        user=_text(plain.get("User")) or "0",
        stop_signal="TERM" if stop is None else signals.name_of(stop),
        exposed=tuple(sorted(exposed)) if isinstance(exposed, dict) else (),
        health=_health(plain.get("Healthcheck")),
        volumes=tuple(sorted(filter(_is_place, volumes))) if isinstance(volumes, dict) else (),
    )


def _health(plain: Any) -> Health | None:
    """Docker's HEALTHCHECK as a probe."""
    test = _words(plain.get("Test")) if isinstance(plain, dict) else ()
    if len(test) < _A_PROBE or test[0] not in ("CMD", "CMD-SHELL"):
        return None
    command = ("/bin/sh", "-c", test[1]) if test[0] == "CMD-SHELL" else test[1:]
    return Health(
        command=command,
        interval=_seconds(plain.get("Interval")) or Health.interval,
        timeout=_seconds(plain.get("Timeout")) or Health.timeout,
        retries=_count(plain.get("Retries")) or Health.retries,
        start_period=max(_seconds(plain.get("StartPeriod")), _PATIENCE),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _line(value: Any) -> str:
    """A text without line ends and their like: a directory with one is nobody's honest wish."""
    text = _text(value)
    return text if text.splitlines() == [text] else ""


def _is_place(path: str) -> bool:
    """True for the absolute path of a directory below the root."""
    return path.startswith("/") and bool(path.strip("/")) and _line(path) == path and ".." not in path.split("/")


def _words(value: Any) -> tuple[str, ...]:
    whole = isinstance(value, list) and all(isinstance(word, str) for word in value)
    return tuple(value) if whole else ()


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 1 << 31 else 0


def _seconds(value: Any) -> float:
    return value / _NANO if type(value) is int and 0 <= value < 1 << 63 else 0.0
