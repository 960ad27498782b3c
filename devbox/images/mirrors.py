"""Where the packages of a distribution come from. Images carry the canonical sources; a mirror is a host setting."""

from __future__ import annotations

import os

from devbox.errors import BakeFailed, HostError
from devbox.host import environ
from devbox.images.manifest import architecture
from devbox.model.image import Bootstrap

KEYRINGS = {
    "debian": ("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
    "ubuntu": ("/usr/share/keyrings/ubuntu-archive-keyring.gpg", "ubuntu-keyring"),
}
_ROLLING = ("sid", "unstable", "experimental")


def canonical_sources(base: Bootstrap) -> str:
    """The lines of the image's own /etc/apt/sources.list: the release, its updates and its security fixes."""
    return _sources(base, _canonical(base.distribution), _canonical_security(base.distribution))


def local_sources(base: Bootstrap) -> str:
    """The same by this machine's mirrors: `DEVBOX_MIRROR_DEBIAN`, `…_DEBIAN_SECURITY`, `DEVBOX_MIRROR_UBUNTU`."""
    mirror = mirror_of(base.distribution)
    if mirror == _canonical(base.distribution):
        return canonical_sources(base)
    beside = f"{mirror}-security" if base.distribution == "debian" else mirror
    return _sources(base, mirror, environ.get(f"{variable_of(base.distribution)}_SECURITY", beside))


def mirror_of(distribution: str) -> str:
    """Where this machine gets a distribution's packages: its setting, or the canonical archive."""
    return environ.get(variable_of(distribution)).rstrip("/") or _canonical(distribution)


def variable_of(distribution: str) -> str:
    """The environment variable that names another mirror."""
    return f"DEVBOX_MIRROR_{distribution.upper()}"


def require_keyring(distribution: str) -> str:
    """The keys to check a distribution's packages with; HostError when this machine lacks them."""
    path, package = _keyring(distribution)
    if not os.path.exists(path):
        raise HostError(
            f"this machine has no keys to check packages of {distribution}",
            remedy=f"sudo apt-get install {package}",
        )
    return path


def _sources(base: Bootstrap, mirror: str, security: str) -> str:
    keyring, _ = _keyring(base.distribution)
    places = [(mirror, base.suite)]
    if base.suite not in _ROLLING:
        places += [(mirror, f"{base.suite}-updates"), (security, f"{base.suite}-security")]
    components = " ".join(base.components)
    return "".join(f"deb [signed-by={keyring}] {url} {suite} {components}\n" for url, suite in places)


def _keyring(distribution: str) -> tuple[str, str]:
    try:
        return KEYRINGS[distribution]
    except KeyError:
        raise BakeFailed(f"devbox can't bootstrap {distribution}; it knows {', '.join(KEYRINGS)}") from None


def _canonical(distribution: str) -> str:
    if distribution == "debian":
        return "http://deb.debian.org/debian"
    return "http://archive.ubuntu.com/ubuntu" if architecture() == "amd64" else "http://ports.ubuntu.com/ubuntu-ports"


def _canonical_security(distribution: str) -> str:
    return "http://deb.debian.org/debian-security" if distribution == "debian" else _canonical(distribution)
