"""Where the files live that devbox ships beside its code: `recipes` and `templates`."""

from __future__ import annotations

import os

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def data_dir(name: str) -> str:
    """The directory of shipped files called `name`: in a checkout beside the package, in a wheel inside it."""
    shipped = f"{_PACKAGE}/data/{name}"
    return shipped if os.path.isdir(shipped) else f"{os.path.dirname(_PACKAGE)}/{name}"
