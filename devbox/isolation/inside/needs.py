"""Whether what a container was started after is still there: one that was stopped by hand is missed only in use."""

from __future__ import annotations

from devbox.errors import CannotRun
from devbox.isolation.inside.enter import read_entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.host.paths import Paths


def needs_run(paths: Paths, instance: str, container: str) -> bool:
    """Whether every need of a container runs, or is a job that is over. CannotRun when the container does not run."""
    entry = read_entry(paths.entry(instance, container), container)
    return all(_is_met(paths, instance, need) for need in entry.get("needs", "").split())


def _is_met(paths: Paths, instance: str, need: str) -> bool:
    try:
        read_entry(paths.entry(instance, need), need)
    except CannotRun:
        return _is_job(paths, instance, need)
    return True


def _is_job(paths: Paths, instance: str, need: str) -> bool:
    """Whether it was started as a job. Its dependant was started after it, so it did its work."""
    from devbox.isolation import launchfile

    item = launchfile.read(paths, instance, need)
    return item is not None and item.get("kind", "service") != "service"
