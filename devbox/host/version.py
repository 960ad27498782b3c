"""The version. pyproject.toml reads it here; asking the package's metadata instead would cost a start 20 ms."""

import os

VERSION = "0.1.0"

_READS_THE_FILE = ("envfile", "roles", "model")


def compute_reader_id() -> str:
    """Identifies the code that makes a `Resolved` of an env file: what it made is not used by other code.

    The version alone would not do: a checkout changes without one.
    """
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    newest = 0
    for room in _READS_THE_FILE:
        with os.scandir(f"{package}/{room}") as entries:
            newest = max(newest, *(entry.stat().st_mtime_ns for entry in entries if entry.name.endswith(".py")))
    return f"{VERSION}+{newest:x}"
