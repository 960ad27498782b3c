"""Packages of this checkout, as `make dist` builds them."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.machine import lacking
from support.roots import HOST_CA, Room

from devbox.host.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS: tuple[Any, ...] = runpy.run_path(str(ROOT / "packaging/distributions.py"))["DISTRIBUTIONS"]


def build_all(out: Path) -> Path:
    """Build the site and all packages into `out`."""
    for name in ("build", "hatchling", "twine", "uv", "zensical"):
        if not shutil.which(name, path=str(Path(sys.executable).parent)) and name != "build":
            lacking(f"{name} is missing: .ci/setup.sh docs installs it")
    _run("packaging/build_site.py")
    _run("packaging/dist.py", "--out", str(out))
    return out


def build_deb(name: str, wheel: Path, out: Path, *, revision: str) -> Path:
    """Build one Debian package with another revision."""
    out.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "DEVBOX_DEB_REVISION": revision, "SOURCE_DATE_EPOCH": "1800000000"}
    _run("packaging/deb.py", str(wheel), name, "--out", str(out), env=env)
    (deb,) = out.glob(f"devbox_*-{revision}~{name}_*.deb")
    return deb


def install_deb(room: Room, distribution: Any) -> str:
    """Install the Debian package in a room, whose `dist` has the packages; return the program."""
    name = f"/run/host/dist/devbox_{VERSION}-1~{distribution.name}_*.deb"
    room.run(f"apt-get install -y -qq --no-install-recommends {name}")
    return "/usr/bin/devbox"


def install_wheel(room: Room, user: str) -> tuple[str, str]:
    """Install the wheel for a user of a room, then what `doctor --install` prints; return the program, and that."""
    home = f"/home/{user}" if user else "/root"
    room.run("apt-get install -y -qq --no-install-recommends python3-venv")
    wheel = f"/run/host/dist/devbox_pipeline-{VERSION}-py3-none-any.whl"
    room.run(f"python3 -m venv {home}/v && PIP_CERT={HOST_CA} {home}/v/bin/pip install -q {wheel}", user=user)
    printed = room.run(f"{home}/v/bin/devbox doctor --install", user=user).stdout
    room.run(printed.removeprefix("sudo ").replace("install", "install -y -qq", 1))
    return f"{home}/v/bin/devbox", printed


def _run(program: str, *arguments: str, env: dict[str, str] | None = None) -> None:
    argv = [sys.executable, str(ROOT / program), *arguments]
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
