"""The comparison of the parity test: it reports a row with more rights, and no row with equal or fewer."""

from __future__ import annotations

import pytest
from parity.compare import Value, is_looser, looser


@pytest.mark.parametrize(
    ("row", "ours", "docker"),
    [
        ("call mount", "ok", "EPERM"),
        ("call bpf", "EINVAL", "EPERM"),
        ("call clone3", "EFAULT", "ENOSYS"),
        ("socket VSOCK", "ENODEV", "EPERM"),
        ("read /proc/kcore", "ok", "nothing"),
        ("write /proc/sysrq-trigger", "ok", "EROFS"),
        ("open /dev/mem", "ok", "ENOENT"),
        ("set-user-id root", "ok", "EPERM"),
        ("capabilities Bnd", ["CHOWN", "SYS_ADMIN"], ["CHOWN"]),
        ("processes of the host", ["2"], []),
        ("devices that open", ["/dev/mem", "/dev/null"], ["/dev/null"]),
        ("mounts that propagate", ["/"], []),
        ("no_new_privs", 0, 1),
        ("seccomp mode", 0, 2),
        ("options of /sys", ["nosuid"], ["nosuid", "ro"]),
        ("limit of open files", 4096, 1024),
        ("limit of open files", -1, 1024),
    ],
)
def test_only_the_looser_side_is_found(row: str, ours: Value, docker: Value):
    assert is_looser(row, ours, docker)
    assert not is_looser(row, docker, ours)
    assert not is_looser(row, ours, ours)


@pytest.mark.parametrize(
    ("row", "ours", "docker"),
    [
        ("call mount", "EACCES", "EPERM"),
        ("call bpf", "EINVAL", "EFAULT"),
        ("open /dev/mem", "EACCES", "ENOENT"),
        ("limit of open files", 1024, -1),
    ],
)
def test_another_refusal_is_not_looser(row: str, ours: Value, docker: Value):
    assert not is_looser(row, ours, docker)


def test_every_looser_row_is_named_with_both_values():
    docker = {"call mount": "EPERM", "no_new_privs": 0}
    assert looser({"call mount": "ok", "no_new_privs": 1}, docker) == ["call mount: ok, Docker: EPERM"]


def test_two_probes_are_not_compared():
    with pytest.raises(AssertionError, match="two different probes"):
        looser({"call mount": "EPERM"}, {})
