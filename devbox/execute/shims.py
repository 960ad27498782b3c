"""Commands on PATH that run a project's tools: a small script each, in a directory of the instance."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable

from devbox.host import environ, files, removal
from devbox.model.resolved import Instance

_SCRIPT = """\
#!/bin/sh
# A shim of devbox: {name} of {env_file}. `devbox up` writes it; it works in every directory.
{setting}exec {devbox} -f {quoted} tool {name} "$@"
"""


def refresh(directory: str, instance: Instance, names: Iterable[str]) -> None:
    """Have exactly these commands there."""
    wanted = set(names)
    known = set(os.listdir(directory)) if os.path.isdir(directory) else set()
    if wanted:
        os.makedirs(directory, mode=0o755, exist_ok=True)
    for name in known - wanted:
        os.unlink(f"{directory}/{name}")
    for name in wanted:
        path, text = f"{directory}/{name}", _script(name, instance)
        if name not in known or files.read_text(path) != text:
            files.write_atomic(path, text, mode=0o755)


def remove(directory: str) -> None:
    """Have none."""
    if os.path.isdir(directory):
        removal.remove(directory)


def _script(name: str, instance: Instance) -> str:
    env_file = f"{instance.root}/{instance.env_file}"
    home = environ.get("DEVBOX_HOME")
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return _SCRIPT.format(
        name=name,
        env_file=env_file.replace("\n", " "),
        setting=f"DEVBOX_HOME={shlex.quote(home)} " if home else "",
        # As a file, not with -m, which costs a start some milliseconds; -P: what lies beside it is not imported.
        devbox=shlex.join([sys.executable, "-P", f"{package}/__main__.py"]),
        quoted=shlex.quote(env_file),
    )
