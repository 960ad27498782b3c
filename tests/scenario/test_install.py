"""`devbox install`: copy files from an image to the host, all or none; upgrade, conflicts, uninstall, a kill."""

from __future__ import annotations

import os
import random
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
from support.machine import Box

pytestmark = pytest.mark.scenario

FILE = """
[base.files]
recipe = "debian"
run = [{make}]

[install.tools]
from = "files"
files = {{ "~/{home}/bin/tool" = "/usr/local/bin/tool", "~/{home}/share/" = "/opt/share" }}
"""
MAKE = [
    "printf '#!/bin/sh\\necho VERSION\\n' > /opt/real; chmod 4755 /opt/real; ln -s /opt/real /usr/local/bin/tool",
    "mkdir -p /opt/share/deep; cd /opt/share/deep; for n in NAMES; do echo VERSION $n > $n; done; chmod 600 *",
]


def text(home: str, version: str, names: str) -> str:
    made = [line.replace("VERSION", version).replace("NAMES", names) for line in MAKE]
    return FILE.format(home=home, make=", ".join(f"'''{line}'''" for line in made))


class Site:
    """A project, and the directory of the home that it installs into."""

    def __init__(self, box: Box) -> None:
        self.box = box
        self.home = Path(box.environment().get("HOME", "~")).expanduser()
        self.name = f".devbox-test-{os.getpid()}-{random.randrange(10**6)}"
        self.path = box.project(text(self.name, "one", "a b"), "app")
        self.root = self.home / self.name

    def version(self, version: str, names: str) -> None:
        """Have the image hold something else."""
        (self.path / "devbox.toml").write_text(text(self.name, version, names))

    def files(self) -> dict[str, str]:
        """The installed files."""
        return {
            str(path.relative_to(self.root)): path.read_text() for path in self.root.rglob("*") if not path.is_dir()
        }


@pytest.fixture
def site(any_box: Box) -> Site:
    return Site(any_box)


def of(version: str, names: str) -> dict[str, str]:
    return {"bin/tool": f"#!/bin/sh\necho {version}\n"} | {f"share/deep/{n}": f"{version} {n}\n" for n in names.split()}


def test_install_upgrade_conflict_and_uninstall(site: Site):
    box, path = site.box, site.path
    refused = box.run("install", cwd=path)
    assert refused.returncode == 1
    assert b"devbox trust" in refused.stderr
    assert not site.root.exists()
    box.ok("trust", cwd=path)

    box.ok("install", cwd=path)
    assert site.files() == of("one", "a b")
    facts = (site.root / "bin/tool").stat()
    assert (stat.S_IMODE(facts.st_mode), facts.st_uid) == (0o755, path.stat().st_uid)
    assert subprocess.run([site.root / "bin/tool"], capture_output=True, check=True).stdout == b"one\n"
    assert box.json("install", "--list", cwd=path)[0]["state"] == "installed"

    site.version("two", "b c")
    box.ok("install", "tools", cwd=path)
    assert site.files() == of("two", "b c")

    (site.root / "share/deep/c").write_text("mine")
    (site.root / "share/deep/d").write_text("mine, too")
    site.version("three", "c d")
    before = site.files()
    in_the_way = box.run("install", cwd=path)
    assert in_the_way.returncode == 1
    assert [name in in_the_way.stderr.decode() for name in ("deep/c was changed", "deep/d already exists")] == [
        True
    ] * 2
    assert site.files() == before
    box.ok("install", "--force", cwd=path)
    assert site.files() == of("three", "c d")

    (site.root / "share/deep/mine").write_text("stays")
    box.ok("install", "--uninstall", cwd=path)
    assert site.files() == {"share/deep/mine": "stays"}
    (site.root / "share/deep/mine").unlink()
    for name in ("share/deep", "share", ""):
        (site.root / name).rmdir()
    assert box.json("install", "--list", cwd=path)[0]["state"] == "absent"


@pytest.mark.long
def test_a_kill_at_ten_random_points_leaves_all_old_or_all_new(site: Site):
    box, path = site.box, site.path
    names = " ".join(f"n{number}" for number in range(60))
    site.version("one", names)
    box.ok("trust", cwd=path)
    started = time.monotonic()
    box.ok("install", cwd=path)
    seconds = time.monotonic() - started
    versions = ("two", "one")
    for round_ in range(10):
        version, other = versions[round_ % 2], versions[1 - round_ % 2]
        site.version(version, names)
        with subprocess.Popen(
            box.argv("install"), cwd=path, env=box.environment(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        ) as running:
            time.sleep(random.uniform(0, seconds))
            os.kill(running.pid, signal.SIGKILL)
        box.ok(*(("install", "--list"), ("down",))[round_ % 2], cwd=path)
        assert site.files() in (of(version, names), of(other, names))
        box.ok("install", cwd=path)
        assert site.files() == of(version, names)
    box.ok("install", "--uninstall", cwd=path)
    assert not site.root.exists()
