"""What the packages of a distribution make anew when they are installed: keys, certificates, clusters of databases.

Two bakes would differ by it, and everybody who has the image would have its key. So what a package step leaves of it
stays out of the layer: whoever needs one makes it where it is used, by `setup` or by a service's command.
"""

from __future__ import annotations

import os
import re

_HOST_KEY = "ssl-cert-snakeoil.pem"
_MADE = re.compile(
    "|".join(
        (
            r"etc/ssl/private/ssl-cert-snakeoil\.key",  # ssl-cert, of postgresql and others
            rf"etc/ssl/certs/{re.escape(_HOST_KEY)}",
            r"etc/ssh/ssh_host_[a-z0-9]+_key(\.pub)?",  # openssh-server
            r"etc/dropbear/dropbear_[a-z0-9]+_host_key(\.pub)?",
            r"etc/bind/rndc\.key",  # bind9
            r"etc/unbound/unbound_(control|server)\.(key|pem)",
            r"(etc|var/lib)/postgresql/[0-9.]+/main",
            r"var/lib/mysql/[^/]+",  # mariadb-server, mysql-server
        )
    )
)


def by_packages(tree: str, path: str) -> bool:
    """Whether a path (relative to `tree`, no leading slash), of what a package step changed, is one of these."""
    if _MADE.fullmatch(path):
        return True
    link = f"{tree}/{path}"  # the certificate's name by its hash, which the host's name is part of
    return path.startswith("etc/ssl/certs/") and os.path.islink(link) and os.readlink(link) == _HOST_KEY
