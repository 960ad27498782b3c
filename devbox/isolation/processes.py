"""The `process` document for a command with its own variables, groups or terminal in a running container.

With crun's command-line flags, variables would replace the container's own and be world-readable, supplementary groups
could not be set, and the terminal would start without a size.
"""

from __future__ import annotations

import json
import os

from devbox.model import jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def get_config_path(oci_root: str, oci_id: str) -> str:
    """Return the path of crun's copy of a container's config.json; other runtimes keep none."""
    return f"{oci_root}/{oci_id}/config.json"


def open_process_document(
    config: str, argv: Sequence[str], *, user: str, groups: Sequence[int], cwd: str, env: Mapping[str, str], tty: bool
) -> int:
    """Return an inheritable descriptor of a process document: the container's own process with these changes.

    `config` is the path of its config.json; `user` is UID:GID. With `tty`, it starts with this terminal's size.
    """
    with open(config, encoding="utf-8") as source:
        process = jsontext.loads(source.read())["process"]
    uid, _, gid = user.partition(":")
    process["user"] = {"uid": int(uid), "gid": int(gid), "additionalGids": list(groups)}
    process.pop("consoleSize", None)
    if tty:  # from the start: the command may ask before the runtime has passed the size on
        columns, rows = os.get_terminal_size(0)
        process["consoleSize"] = {"height": rows, "width": columns}
    names = tuple(f"{name}=" for name in env)
    kept = [variable for variable in process["env"] if not variable.startswith(names)]
    process |= {
        "args": list(argv),
        "cwd": cwd,
        "env": [*kept, *(f"{name}={value}" for name, value in env.items())],
        "terminal": tty,
        "noNewPrivileges": True,
    }
    fd = os.memfd_create("process", 0)
    os.write(fd, json.dumps(process).encode())
    return fd
