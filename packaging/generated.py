"""Files of packages that are generated from the code: man pages and completion scripts."""

from __future__ import annotations

import os

import manpages

from devbox.cli.shell_scripts import SCRIPTS

# Below the prefix: the directories in which the shells search scripts of packages.
COMPLETIONS = {
    "bash": "share/bash-completion/completions/devbox",
    "zsh": "share/zsh/{zsh}/_devbox",
    "fish": "share/fish/vendor_completions.d/devbox.fish",
}


def write(prefix: str, *, date: int, zsh: str = "site-functions") -> list[str]:
    """Write man pages and completion scripts below `prefix`; return their paths relative to it.

    `zsh`: `vendor-completions` for packages of Debian.
    """
    files = {f"share/man/man1/{name}": text for name, text in manpages.render_all(date=date)}
    files |= {path.format(zsh=zsh): SCRIPTS[shell] for shell, path in COMPLETIONS.items()}
    for name, text in files.items():
        path = f"{prefix}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
    return list(files)
