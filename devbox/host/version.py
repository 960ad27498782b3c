"""The version. pyproject.toml reads it here; reading the package's metadata would add 20 ms to start-up."""

import os

VERSION = "0.1.0"

_READS_THE_FILE = ("envfile", "roles", "model")


def compute_reader_id() -> str:
    """Identify the code that builds a `Spec` from an env file; other code must not use its cached result.

    The version alone is insufficient: a checkout changes without a new version.
    """
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    newest = 0
    for room in _READS_THE_FILE:
        with os.scandir(f"{package}/{room}") as entries:
            newest = max(newest, *(entry.stat().st_mtime_ns for entry in entries if entry.name.endswith(".py")))
    return f"{VERSION}+{newest:x}"
