"""Who runs devbox, by the name that this machine has for them."""

from __future__ import annotations

import os
import pwd


def name() -> str:
    """The name of the effective user; its number where the machine knows no name, as in many a CI container."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
