"""Packages of the host's distribution that devbox requires and that are missing; the command that installs them."""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Iterable

from devbox.doctor.checks import PROBLEM, CheckContext, CheckResult
from devbox.errors import HostError

_INSTALL = ("apt-get", "install", "--no-install-recommends")
_UPDATE = ("apt-get", "update")
_REMEDY = "sudo apt-get install "
_LISTS = "/var/lib/apt/lists/*_Packages*"


def list_missing(results: Iterable[CheckResult], *, state: str = PROBLEM) -> tuple[str, ...]:
    """Return the packages that the remedies of results in this state install, each once.

    The remedy is the only place that names the package of a program.
    """
    found = [
        result.remedy.removeprefix(_REMEDY)
        for result in results
        if result.state == state and result.remedy.startswith(_REMEDY)
    ]
    return tuple(dict.fromkeys(found))


def build_commands(packages: tuple[str, ...], context: CheckContext, *, has_lists: bool) -> list[list[str]]:
    """Return the command lines that install the packages, `apt-get update` first if the host has no package lists."""
    sudo = ["sudo"] if context.is_rootless else []
    update = [] if has_lists else [[*sudo, *_UPDATE]]
    return [*update, [*sudo, *_INSTALL, *packages]]


def format_commands(commands: Iterable[list[str]]) -> str:
    """Return one line for a shell."""
    return " && ".join(shlex.join(command) for command in commands)


def add_yes(commands: Iterable[list[str]]) -> list[list[str]]:
    """Return the commands with apt's own question answered."""
    return [_add_yes(command) for command in commands]


def _add_yes(command: list[str]) -> list[str]:
    at = command.index("apt-get") + 1
    return [*command[:at], "--yes", *command[at:]]


def has_package_lists() -> bool:
    """True if apt knows the packages of its sources."""
    return bool(glob.glob(_LISTS))


def require_apt(packages: tuple[str, ...]) -> None:
    """Raise HostError on a host without apt, whose packages have other names."""
    if not any(os.access(f"{directory}/apt-get", os.X_OK) for directory in ("/usr/bin", "/bin")):
        raise HostError(
            "cannot install packages: the host does not have apt-get",
            remedy=f"install the packages of your distribution that contain: {' '.join(packages)}",
        )
