"""Who holds a host port, and how to end it: another devbox project is called by its directory."""

from __future__ import annotations

import contextlib
import errno
import os

from devbox.errors import EngineError
from devbox.host import holders, ports
from devbox.host.paths import Paths
from devbox.isolation import state
from devbox.isolation.living import alive
from devbox.model.observed import PortHolder
from devbox.records.instance import InstanceRecords

_SEE = "see which: sudo ss -Hltunp 'sport = :{port}'"


def who_has(paths: Paths, address: str, port: int, protocol: str) -> PortHolder:
    """Who or what keeps devbox from a port of this machine."""
    found = holders.holder_of(port, protocol)
    if found is None:
        return _nobody(address, port, protocol)
    instance = found.instance if found.pid else _publisher(paths, port, protocol)
    records = InstanceRecords(paths, instance)
    root, stage = (records.place()[0], records.stage()) if instance else ("", "")
    if root and stage:
        return PortHolder(why=f"the stage {stage} of {root} has", remedy=f"devbox -C {root} down --stage {stage}")
    if root:
        return PortHolder(why=f"the devbox project {root} has", remedy=f"devbox -C {root} down")
    if found.pid is None:
        return PortHolder(why=f"a program of uid {found.uid} has", remedy=_SEE.format(port=port))
    return PortHolder(why=f"{found.name} (pid {found.pid}) has", remedy=f"stop it: kill {found.pid}")


def _publisher(paths: Paths, port: int, protocol: str) -> str:
    """The instance of this home that publishes a port: the kernel hides the files of an ordinary user's pasta."""
    for instance in os.listdir(paths.runtime) if os.path.isdir(paths.runtime) else ():
        with contextlib.suppress(EngineError):  # what it says can't be understood
            now = state.read(paths, instance)
            published = [each.publish for each in now.published] if now and now.egress and alive(now.egress) else []
            if any((each.host, each.protocol) == (port, protocol) for each in published):
                return instance
    return ""


def _nobody(address: str, port: int, protocol: str) -> PortHolder:
    """The kernel refuses, although no program has the port."""
    error = ports.refusal(address, port, protocol)
    if isinstance(error, PermissionError):
        return PortHolder(why="only root may open", remedy="publish a port above 1023")
    if error is not None and error.errno == errno.EADDRNOTAVAIL:
        return PortHolder(why="is no address of this machine", remedy="see them: ip -brief address")
    return PortHolder(why="another program has", remedy=_SEE.format(port=port))
