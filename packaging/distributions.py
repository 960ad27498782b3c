"""Distributions for which devbox is packaged."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Distribution:
    """A release of Debian or Ubuntu. `python`: version of its package python3.

    `recommends`: packages that some env files require, such as the keys of Ubuntu.
    """

    name: str
    label: str
    suite: str
    python: str
    recommends: tuple[str, ...] = ()

    @property
    def next_python(self) -> str:
        """The first version of Python for which the bundled packages are not built."""
        major, _, minor = self.python.partition(".")
        return f"{major}.{int(minor) + 1}"


DISTRIBUTIONS = (
    Distribution("debian12", "Debian 12", "bookworm", "3.11", ("ubuntu-archive-keyring",)),
    Distribution("debian13", "Debian 13", "trixie", "3.13", ("ubuntu-keyring",)),
    Distribution("ubuntu24.04", "Ubuntu 24.04", "noble", "3.12", ("ubuntu-keyring",)),
)
