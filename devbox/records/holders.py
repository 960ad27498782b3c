"""Who holds a host port, and how to end it: another devbox project is called by its directory."""

from __future__ import annotations

from devbox.host import holders
from devbox.host.paths import Paths
from devbox.model.observed import PortHolder
from devbox.records.instance import InstanceRecords


def who_has(paths: Paths, port: int, protocol: str) -> PortHolder:
    """The program that has a port of this machine."""
    found = holders.holder_of(port, protocol)
    if found is None or found.pid is None:
        owner = f"a program of uid {found.uid}" if found else "another program"
        return PortHolder(label=owner, remedy=f"see which: sudo ss -Hltunp 'sport = :{port}'")
    root = InstanceRecords(paths, found.instance).place()[0] if found.instance else ""
    if root:
        return PortHolder(label=f"the devbox project {root}", remedy=f"devbox -C {root} down")
    return PortHolder(label=f"{found.name} (pid {found.pid})", remedy=f"stop it: kill {found.pid}")
