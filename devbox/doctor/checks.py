"""What an examination finds, and what it looks at."""

from __future__ import annotations

import os
from dataclasses import dataclass

from devbox.errors import DevboxError
from devbox.host.paths import Paths

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True)
class CheckResult:
    """One thing looked at. `sentence` says how it is, `remedy` is the command that mends it ("" where all is well).

    A problem keeps devbox from working; a warning is something it works around or without.
    """

    check: str
    state: str
    sentence: str
    remedy: str = ""


@dataclass(frozen=True)
class CheckContext:
    """What is examined: a DEVBOX_HOME, the project around the caller where there is one, the network unless offline."""

    paths: Paths
    project: tuple[str, str] | None = None  # root, env file
    offline: bool = False

    @property
    def is_rootless(self) -> bool:
        """Whether an ordinary user asks."""
        return os.geteuid() != 0

    @property
    def nearest_existing(self) -> str:
        """DEVBOX_HOME, or the nearest directory above it that is there already."""
        path = self.paths.home
        while not os.path.isdir(path):
            path = os.path.dirname(path)
        return path


def convert_error(check: str, error: DevboxError, *, state: str = PROBLEM) -> CheckResult:
    """An error that a command would meet, as a finding."""
    place = f"{error.where}: " if error.where else ""
    reason = f" ({error.details.strip().splitlines()[-1]})" if error.details.strip() else ""
    return CheckResult(check, state, f"{place}{error.sentence}{reason}", error.remedy)
