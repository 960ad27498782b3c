"""The tutorial, block by block, in fresh systems: from the Debian package and the wheel, as root and as a user."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import packages, page_session, roots

pytestmark = pytest.mark.long

_MOST = 1800.0  # seconds; the first bakes download packages


@pytest.mark.parametrize("user", ["", "ann"], ids=["root", "user"])
@pytest.mark.parametrize("package", ["deb", "wheel"])
def test_the_tutorial(room: roots.Room, distribution, package: str, user: str):
    home = f"/home/{user}" if user else "/root"
    if package == "deb":
        devbox = packages.install_deb(room, distribution)
    else:
        devbox, _ = packages.install_wheel(room, user)
    script = room.root / "tutorial.sh"
    script.write_text(page_session.render_script(page_session.read_page("docs/tutorial.md")))
    path = f"{Path(devbox).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    env = {"PATH": path} | ({} if user else {"DEVBOX_CACHE": "/run/host/cache"})
    done = room.run(f"cd {home} && bash /tutorial.sh", user=user, env=env, check=False, timeout=_MOST)
    assert done.returncode == 0, done.stdout[-6000:]
    assert done.stdout.endswith("every block ran\n")
