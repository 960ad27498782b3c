"""The caller's SSH agent, as containers reach it: one socket for the instance's life, led to who called last.

Light: part of `devbox exec`. What listens is the supervisor (`supervision.relay`); here is only whom it leads to.
"""

from __future__ import annotations

import os

from devbox.host import environ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.host.paths import Paths

VARIABLE = "SSH_AUTH_SOCK"
DIRECTORY = "/.devbox/agent"  # in a container
SOCKET = f"{DIRECTORY}/sock"
_NONE = "none"


def follow(paths: Paths, instance: str) -> None:
    """Lead the instance's containers to the agent of the caller; to none, where the caller has none."""
    link, wanted = paths.agent_link(instance), of_caller()
    try:
        known = os.readlink(link)
    except OSError:
        known = ""
    if known == wanted or not os.path.isdir(paths.agent(instance)):  # the supervisor is older than this code
        return
    if not wanted:
        os.unlink(link)
        return
    fresh = f"{link}.new-{os.getpid()}-0"
    os.symlink(wanted, fresh)
    os.rename(fresh, link)


def of_caller() -> str:
    """The path of the caller's agent, "" without one. DEVBOX_SSH_AGENT names another one, or `none`."""
    chosen = environ.get("DEVBOX_SSH_AGENT") or environ.get(VARIABLE)
    return os.path.abspath(chosen) if chosen and chosen != _NONE else ""
