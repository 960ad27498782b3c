"""`export devcontainer`: `[dev]` as .devcontainer/devcontainer.json, for editors and tools that know Dev Containers."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from devbox.cli.project import locate
from devbox.cli.terminal import say
from devbox.errors import UsageError

if TYPE_CHECKING:
    from devbox.cli.options import Args

FILE = ".devcontainer/devcontainer.json"
_MARK = "// Written by `devbox export devcontainer` from "


def devcontainer(args: Args) -> int:
    """Write the file (its path is the data), or print it; what it lacks of [dev] is said on the other stream."""
    from devbox.envfile.devcontainer import document
    from devbox.envfile.load import load
    from devbox.host import beneath

    place = locate(args)
    plain, lacking = document(load(place.root, file=place.env_file))
    text = f"{_MARK}{place.env_file}; run it again when that changes.\n{json.dumps(plain, indent=2)}\n"
    if args.flag("stdout"):
        sys.stdout.write(text)
    else:
        _refuse_foreign(place.root)
        beneath.write(place.root, FILE, text)
        say(f"{place.root}/{FILE}", stream=sys.stdout)
    for sentence in lacking:
        say(f"· not in it: {sentence}")
    return 0


def _refuse_foreign(root: str) -> None:
    """Leave alone what somebody wrote by hand, and what lies elsewhere."""
    from devbox.host import beneath

    try:
        with beneath.opened(root, FILE, links=False) as source:
            mine = source.readline(len(_MARK)) == _MARK.encode()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(
            f"cannot write {root}/{FILE}: {error.strerror}", remedy="devbox export devcontainer --stdout"
        ) from None
    if not mine:
        raise UsageError(
            f"{root}/{FILE} is there already, and devbox did not write it",
            remedy="move it away, or compare: devbox export devcontainer --stdout",
        )
