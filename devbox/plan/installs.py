"""Which installs a command is about, and what they want of this machine. Pure."""

from __future__ import annotations

from devbox.errors import UsageError
from devbox.model.install import Install
from devbox.model.resolved import HostAccess, Resolved


def access(resolved: Resolved) -> tuple[HostAccess, ...]:
    """What installs put onto the host: `devbox trust` allows it."""
    return tuple(
        HostAccess(container=f"install.{each.name}", variable=place, reference=f"image:{path}", where=each.where)
        for each in resolved.installs.values()
        for place, path in each.files.items()
    )


def chosen(resolved: Resolved, names: tuple[str, ...]) -> tuple[Install, ...]:
    """The installs of these names; of none: all whose profiles are not off."""
    known = ", ".join(resolved.installs) or "none"
    for name in names:
        if name not in resolved.installs:
            raise UsageError(f"there is no [install.{name}] in {resolved.instance.env_file}", remedy=f"known: {known}")
    found = [resolved.installs[name] for name in dict.fromkeys(names)]
    found = found or [each for each in resolved.installs.values() if not each.asleep]
    if not found:
        raise UsageError(
            f"{resolved.instance.env_file} has nothing to install",
            remedy='write [install.NAME] with from = "image" and files = { "~/.local/bin/x" = "/usr/local/bin/x" }',
        )
    return tuple(found)
