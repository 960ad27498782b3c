"""buildah in its usual configuration, with its own storage in a temporary directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What buildah needs of runtimes and limits on the machines that this runs on (docs/explanation/performance.md).
_HOW = (
    *("--isolation", "oci", "--runtime", "runc", "--network", "host"),
    *("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=90000:90000"),
)


class Buildah:
    """The peer: argv of its builds, and its images."""

    def __init__(self, base: Path) -> None:
        self._words = ["buildah", "--root", str(base / "root"), "--runroot", str(base / "run")]
        settings = base / "storage.conf"
        settings.write_text('[storage]\ndriver = "overlay"\n')
        self.environment = os.environ | {"CONTAINERS_STORAGE_CONF": str(settings), "TMPDIR": str(base)}

    def load(self, layout: str, reference: str, tag: str) -> None:
        """Take an image out of an OCI layout."""
        pull = [*self._words, "pull", "--quiet", f"oci:{layout}:{reference}"]
        image = subprocess.run(pull, env=self.environment, capture_output=True, text=True, check=True).stdout.strip()
        subprocess.run([*self._words, "tag", image, tag], env=self.environment, check=True)

    def build(self, dockerfile: Path, context: Path) -> list[str]:
        """The command line of a build with cached layers."""
        return [
            *self._words,
            "build",
            "--quiet",
            "--layers",
            *_HOW,
            "--format",
            "docker",
            "-f",
            str(dockerfile),
            str(context),
        ]


@contextmanager
def buildah() -> Iterator[Buildah]:
    """buildah with empty storage; removes the storage and its mounts at the end."""
    base = Path(tempfile.mkdtemp(prefix="bench-buildah-"))
    try:
        yield Buildah(base)
    finally:
        for place in sorted(_mounts(base), reverse=True):
            subprocess.run(["umount", "-l", place], check=True)
        shutil.rmtree(base)


def _mounts(base: Path) -> list[str]:
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [place for place in places if place.startswith(f"{base}/")]
