"""Build the Debian package of one distribution from a wheel of devbox and the locked wheels of its dependencies."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import control
import generated
from distributions import DISTRIBUTIONS, Distribution

from devbox.host.version import VERSION

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "packaging/requirements.txt"
# Debian architecture → platform of wheels. All have a libc6 of at least 2.28.
_PLATFORMS = {"amd64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
_REVISION = os.environ.get("DEVBOX_DEB_REVISION", "1")


def build(distribution: Distribution, wheel: Path, out: Path, *, date: int) -> Path:
    """Build the package into the directory `out`; return its path. `date`: Unix time of all files."""
    version = f"{VERSION}-{_REVISION}~{distribution.name}"
    architecture = _read("dpkg", "--print-architecture")
    with tempfile.TemporaryDirectory(prefix="devbox-deb-") as scratch:
        tree = Path(scratch, "tree")
        tree.mkdir()
        _install_packages(tree, distribution, wheel, architecture=architecture)
        _write_programs(tree, distribution)
        _write_documents(tree, distribution, version=version, date=date)
        _write_metadata(tree, distribution, version=version, architecture=architecture)
        _normalize(tree, date=date)
        path = out / f"devbox_{version}_{architecture}.deb"
        _run("dpkg-deb", "--root-owner-group", "-Zxz", "--build", str(tree), str(path), date=date)
    return path


def _get_site_packages(tree: Path, distribution: Distribution) -> Path:
    return tree / control.LIBRARY / f"lib/python{distribution.python}/site-packages"


def _install_packages(tree: Path, distribution: Distribution, wheel: Path, *, architecture: str) -> None:
    """Install the locked wheels for the distribution's Python, and the modules of devbox."""
    target = _get_site_packages(tree, distribution)
    target.mkdir(parents=True)
    platform = ("--python-platform", _PLATFORMS[architecture], "--python-version", distribution.python)
    _run(
        *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(target), *platform),
        *("--only-binary", ":all:", "--require-hashes", "--no-deps", "--link-mode", "copy", "-r", str(REQUIREMENTS)),
    )
    shutil.rmtree(target / "bin", ignore_errors=True)
    (target / ".lock").unlink(missing_ok=True)
    with zipfile.ZipFile(wheel) as archive:  # not its scripts and shared data: the package has its own
        archive.extractall(target, [name for name in archive.namelist() if ".data/" not in name])


def _write_programs(tree: Path, distribution: Distribution) -> None:
    library = tree / control.LIBRARY
    _write(library / "pyvenv.cfg", control.PYVENV.format(python=distribution.python))
    (library / "bin").mkdir()
    (library / "bin/python3").symlink_to("../../../bin/python3")
    _write(tree / "usr/bin/devbox", control.LAUNCHER, mode=0o755)


def _write_documents(tree: Path, distribution: Distribution, *, version: str, date: int) -> None:
    pages = tree / "usr/share/man/man1"
    generated.write(str(tree / "usr"), date=date, zsh="vendor-completions")
    for page in sorted(pages.iterdir()):
        _write_compressed(pages / f"{page.name}.gz", page.read_text())
        page.unlink()
    place = tree / "usr/share/doc/devbox"
    _write(place / "copyright", control.render_copyright(str(_get_site_packages(tree, distribution))))
    _write_compressed(place / "changelog.Debian.gz", control.render_changelog(version=version, date=date))
    _write_compressed(place / "changelog.gz", (ROOT / "CHANGELOG.md").read_text())
    _write(tree / "usr/share/lintian/overrides/devbox", control.OVERRIDES)


def _write_metadata(tree: Path, distribution: Distribution, *, version: str, architecture: str) -> None:
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    size = sum(-(-path.stat().st_size // 1024) for path in files)
    text = control.render_control(distribution, version=version, architecture=architecture, size=size)
    sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(tree)}\n" for path in files]
    _write(tree / "DEBIAN/control", text)
    _write(tree / "DEBIAN/md5sums", "".join(sums))
    _write(tree / "DEBIAN/postinst", control.POSTINST, mode=0o755)
    _write(tree / "DEBIAN/prerm", control.PRERM, mode=0o755)


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _write_compressed(path: Path, text: str) -> None:
    """Write as `gzip -9n` does: without name and time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def _normalize(tree: Path, *, date: int) -> None:
    """Give files the modes and the time of a package: only programs are executable."""
    for path in sorted(tree.rglob("*"), reverse=True):
        if not path.is_symlink():
            is_program = path.is_dir() or (path.parent.name in ("bin", "DEBIAN") and os.access(path, os.X_OK))
            path.chmod(0o755 if is_program else 0o644)
        os.utime(path, (date, date), follow_symlinks=False)
    tree.chmod(0o755)
    os.utime(tree, (date, date))


def _run(*argv: str, date: int = 0) -> None:
    env = {**os.environ, "SOURCE_DATE_EPOCH": str(date)} if date else None
    subprocess.run(argv, env=env, check=True, stdout=subprocess.DEVNULL)


def _read(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Build the packages named on the command line."""
    known = {each.name: each for each in DISTRIBUTIONS}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("distributions", nargs="*", choices=[[], *known], default=[])
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--date", type=int, default=int(os.environ.get("SOURCE_DATE_EPOCH", "0")))
    given = parser.parse_args()
    for name in given.distributions or known:
        print(build(known[name], given.wheel, given.out, date=given.date))


if __name__ == "__main__":
    main()
