"""`devbox __activate`: called by the shell hook on entering or leaving a project; prints a script for the shell.

Internal command. A project that was never trusted is not read.
"""

from __future__ import annotations

import os
import sys

from devbox.errors import DevboxError
from devbox.host import environ, project
from devbox.host.paths import get_default_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from devbox.plan.activation import Activation


def activate(words: Sequence[str]) -> int:
    """Print the script for a shell ("bash", "zsh", "fish") in the current directory of this process."""
    from devbox.cli.terminal import print_line
    from devbox.plan import activation

    shell, environment = words[0] if words else "", environ.copy_environment()
    desired, watched = None, ""
    try:
        desired, watched = _find_activation()
    except DevboxError as error:
        print_line(error.render())
    after = activation.leave(environment)
    if desired is not None:
        after = activation.enter(after, desired)
    sys.stdout.write(render_script(shell, environment, after, watched))
    return 0


def _find_activation() -> tuple[Activation | None, str]:
    """Return the activation of the surrounding project, and the directory of its watched files; else None and ""."""
    if not _is_in_project():
        return None, ""
    root, env_file = project.find(".")
    paths = get_default_paths()
    key = project.identify(paths, root, env_file)
    watched = paths.project(key)
    if not os.path.exists(paths.trust(key)):
        return None, watched
    from devbox import flow
    from devbox.project import open_project

    return flow.load_activation(open_project(root)), watched


def _is_in_project() -> bool:
    at = os.path.realpath(".")
    while not os.path.lexists(f"{at}/{project.ENV_FILE}"):
        if at == "/":
            return False
        at = os.path.dirname(at)
    return True


def render_script(shell: str, before: Mapping[str, str], after: Mapping[str, str], watched: str) -> str:
    """Return the lines that turn one environment into another. `watched` is set in the shell only."""
    say = _format_fish if shell == "fish" else _format_posix
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    gone = [name for name in before if name not in after]
    lines = [say(name, None) for name in gone] + [say(name, value) for name, value in changed.items()]
    note = (
        f"set -g _devbox_watched {_quote_fish(watched)}"
        if shell == "fish"
        else f"_devbox_watched={_quote_posix(watched)}"
    )
    return "\n".join([*lines, note]) + "\n"


def _format_posix(name: str, value: str | None) -> str:
    return f"unset {name}" if value is None else f"export {name}={_quote_posix(value)}"


def _format_fish(name: str, value: str | None) -> str:
    if value is None:
        return f"set -e {name}"
    words = value.split(":") if name == "PATH" else [value]
    return f"set -gx {name} {' '.join(map(_quote_fish, words))}"


def _quote_posix(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _quote_fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
