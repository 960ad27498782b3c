"""The browser of the user's desktop."""

from __future__ import annotations


def show(url: str) -> None:
    """Open a URL in the browser, if there is a desktop."""
    from devbox.errors import HostError
    from devbox.host import environ, process

    if not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        return
    try:
        process.spawn([process.find("xdg-open"), url], env=environ.copy_environment(), new_session=True)
    except HostError:
        return  # the printed address is enough
