"""What the containers of an instance stand on: the loop, the paths, the namespaces, and who is told of a change."""

from __future__ import annotations

from typing import NamedTuple

from devbox.host.paths import Paths
from devbox.isolation.supervision.loop import Callback, Loop
from devbox.isolation.supervision.sockets import Sockets
from devbox.isolation.types import Context


class Ground(NamedTuple):
    """What all containers of an instance stand on."""

    loop: Loop
    paths: Paths
    context: Context
    changed: Callback
    sockets: Sockets
