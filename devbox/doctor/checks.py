"""Results and context of doctor checks."""

from __future__ import annotations

import os
from dataclasses import dataclass

from devbox.errors import DevboxError
from devbox.host.paths import Paths

OK, WARNING, PROBLEM = "ok", "warning", "problem"


@dataclass(frozen=True)
class CheckResult:
    """Result of one check. `sentence` describes the state, `remedy` is the command that fixes it ("" if OK).

    A problem prevents devbox from working; a warning is worked around or tolerated.
    """

    check: str
    state: str
    sentence: str
    remedy: str = ""


@dataclass(frozen=True)
class CheckContext:
    """Subject of the checks: a DEVBOX_HOME, the caller's project, if any, and the network unless offline."""

    paths: Paths
    project: tuple[str, str] | None = None  # root, env file
    offline: bool = False

    @property
    def is_rootless(self) -> bool:
        """True for an unprivileged user."""
        return os.geteuid() != 0

    @property
    def nearest_existing(self) -> str:
        """DEVBOX_HOME, or its nearest existing parent."""
        path = self.paths.home
        while not os.path.isdir(path):
            path = os.path.dirname(path)
        return path


def convert_error(check: str, error: DevboxError, *, state: str = PROBLEM) -> CheckResult:
    """Convert an error that a command would raise."""
    place = f"{error.where}: " if error.where else ""
    reason = f" ({error.details.strip().splitlines()[-1]})" if error.details.strip() else ""
    return CheckResult(check, state, f"{place}{error.sentence}{reason}", error.remedy)
