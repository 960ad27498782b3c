"""Which distribution an image of a registry is of, as far as devbox can install its packages."""

from __future__ import annotations

import os
import re

from devbox.images.mirrors import KEYRINGS
from devbox.model.image import Bootstrap

_FILE = "usr/lib/os-release"
_MOST = 1 << 16
_LINE = re.compile(r'^(\w+)="?([\w.-]*)"?$', re.MULTILINE)


def system_of(lowers: tuple[str, ...]) -> Bootstrap | None:
    """The distribution and suite of the image over `lowers`; None when it is none of those devbox knows."""
    for lower in lowers:
        path = os.path.realpath(f"{lower}/{_FILE}")
        if path.startswith(f"{lower}/") and os.path.isfile(path):  # no link of the image leads out of it
            with open(path, encoding="utf-8", errors="replace") as source:
                facts = dict(_LINE.findall(source.read(_MOST)))
            distribution, suite = facts.get("ID", ""), facts.get("VERSION_CODENAME", "")
            return Bootstrap(distribution=distribution, suite=suite) if distribution in KEYRINGS and suite else None
    return None
