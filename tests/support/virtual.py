"""A virtual machine with cgroup v2 only and systemd, which runs tests of this checkout. Emulated: no KVM required."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from support import rootfs
from support.machine import REPOSITORY, USER, lacking

_PACKAGES = (
    *("catatonit", "crun", "iproute2", "nftables", "passt", "python3", "runc", "uidmap", "util-linux"),
    *("dbus-user-session", "libpam-systemd", "systemd-sysv", "initramfs-tools", "linux-image-cloud-amd64", "zstd"),
)
_UNIT = """[Unit]
After=multi-user.target
SuccessAction=poweroff
FailureAction=poweroff
RequiresMountsFor=/vm
[Service]
Type=oneshot
ExecStart=/bin/bash /vm/guest.sh
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
"""
_GUEST = f"""
export PYTHONDONTWRITEBYTECODE=1 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
install -d -m 0755 /tmp/devbox-test-cache
ln -s /vm/{rootfs.SUITE}.tar /tmp/devbox-test-cache/
useradd --create-home --shell /bin/sh {USER}
systemctl start user@$(id -u {USER}).service
mkdir -p {REPOSITORY}
mount --bind /vm/code {REPOSITORY}
cd {REPOSITORY}
test="$PWD/.venv/bin/python -m pytest -q -p no:cacheprovider $(cat /vm/tests)"
HOME=/root $test && echo root: fine
HOME=/home/{USER} setpriv --reuid {USER} --regid {USER} --init-groups -- $test && echo user: fine
"""
_BOOT = "console=ttyS0 root=/dev/vda rw quiet panic=-1 systemd.mount-extra=/dev/vdb:/vm:ext4 systemd.log_level=warning"


def run_tests(tests: Iterable[str], *, seconds: float) -> str:
    """The virtual machine's output of these tests as root and as an ordinary user; `root: fine`, `user: fine`."""
    for program in ("qemu-system-x86_64", "mmdebstrap", "mke2fs"):
        if shutil.which(program) is None:
            lacking(f"{program} is not installed")
    with tempfile.TemporaryDirectory(prefix="devbox-vm-") as name:
        place = Path(name)
        _system(place)
        _work(place, tests)
        serial = ("-serial", f"file:{place}/console", "-serial", f"file:{place}/output")
        disks = [f"file={place}/{disk}.ext4,if=virtio,format=raw" for disk in ("system", "work")]
        argv = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "3072"]
        argv += [*serial, "-display", "none", "-nic", "none", "-no-reboot", "-append", _BOOT]
        argv += ["-kernel", f"{place}/vmlinuz", "-initrd", f"{place}/initrd"]
        argv += [word for disk in disks for word in ("-drive", disk)]
        subprocess.run(argv, check=True, timeout=seconds, stdin=subprocess.DEVNULL)
        return (place / "output").read_text(errors="replace")


def _system(place: Path) -> None:
    """The virtual machine's disk, kernel and initial file system."""
    root = place / "root"
    packages = f"--include={','.join(_PACKAGES)}"
    argv = ["mmdebstrap", "--quiet", "--variant=minbase", packages, rootfs.SUITE, str(root)]
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL)
    for kind, target in (("vmlinuz", "vmlinuz"), ("initrd.img", "initrd")):
        (found,) = (root / "boot").glob(f"{kind}-*")
        found.rename(place / target)
    units = root / "etc/systemd/system"
    (units / "guest.service").write_text(_UNIT)
    (units / "graphical.target.wants").mkdir(exist_ok=True)
    (units / "graphical.target.wants/guest.service").symlink_to("../guest.service")
    _disk(root, place / "system.ext4", "3G")


def _work(place: Path, tests: Iterable[str]) -> None:
    """The disk with the checkout and the requirements of its tests."""
    work = place / "work"
    work.mkdir()
    (work / "guest.sh").write_text(_GUEST)
    (work / "tests").write_text(" ".join(tests))
    shutil.copy(rootfs.tarball(), work / f"{rootfs.SUITE}.tar")
    code = work / "code"
    code.mkdir()
    for part in ("devbox", "tests", "recipes", "templates", "pyproject.toml", ".venv"):
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, code / part, symlinks=True)
        else:
            shutil.copy(source, code / part)
    _disk(work, place / "work.ext4", "2G")


def _disk(source: Path, target: Path, size: str) -> None:
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(source), str(target), size], check=True)
    shutil.rmtree(source)
