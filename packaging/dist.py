"""Build sdist, wheel and Debian packages into dist/: `make dist`. Two builds of one commit are byte-identical."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import deb
from distributions import DISTRIBUTIONS

ROOT = Path(__file__).resolve().parent.parent


def read_commit_time() -> int:
    """Return SOURCE_DATE_EPOCH, or the time of the last commit."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    argv = ("git", "-c", f"safe.directory={ROOT}", "log", "-1", "--format=%ct")
    return int(subprocess.run(argv, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def build_wheel(out: Path, *, date: int) -> Path:
    """Build the sdist, and the wheel from it; return the path of the wheel."""
    argv = (sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT))
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(date)}
    subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = out.glob("*.whl")
    subprocess.run((sys.executable, "-m", "twine", "check", "--strict", *map(str, out.iterdir())), check=True)
    return wheel


def main() -> None:
    """Replace the contents of the output directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    given = parser.parse_args()
    shutil.rmtree(given.out, ignore_errors=True)
    given.out.mkdir(parents=True)
    date = read_commit_time()
    wheel = build_wheel(given.out, date=date)
    for distribution in DISTRIBUTIONS:
        deb.build(distribution, wheel, given.out, date=date)
    for path in sorted(given.out.iterdir()):
        print(f"{path}  {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
