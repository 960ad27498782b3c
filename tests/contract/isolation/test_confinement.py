"""A container sees at most what Docker's default container sees."""

from __future__ import annotations

import os

import pytest
from support.place import PATH, Place

from devbox.isolation import runtime_spec
from devbox.isolation.types import ProcessSpec, SecurityProfile


def _status(place: Place, name: str, of: str = "self") -> dict[str, str]:
    lines = place.sh(name, f"cat /proc/{of}/status").splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_pid_1_is_confined(clear: Place):
    clear.run(clear.container("plain"))

    status = _status(clear, "plain", "1")

    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["SigIgn"] == "0000000000000000", "an ignored SIGPIPE would break pipelines"
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert int(status["CapBnd"], 16).bit_count() == len(runtime_spec.CAPABILITIES) == 14


def test_exec_is_confined_as_pid_1_is(clear: Place):
    clear.run(clear.container("plain"))

    executed, first = _status(clear, "plain"), _status(clear, "plain", "1")

    for fact in ("NoNewPrivs", "Seccomp", "CapBnd", "CapEff"):
        assert executed[fact] == first[fact]


def test_another_user_has_no_capability(clear: Place):
    process = ProcessSpec(argv=("sleep", "infinity"), env=(PATH,), cwd="/", uid=33, gid=33)
    clear.run(clear.container("other", process=process))

    status = _status(clear, "other", "1")

    assert status["Uid"].split() == ["33"] * 4
    assert int(status["CapEff"], 16) == 0


def test_an_init_is_pid_1(clear: Place):
    clear.run(clear.container("plain"))

    assert clear.sh("plain", "tr '\\0' ' ' < /proc/1/cmdline").startswith(runtime_spec.INIT)


def test_container_root_is_not_the_hosts(clear: Place):
    clear.run(clear.container("plain"))

    first = clear.sh("plain", "cat /proc/self/uid_map").split()

    assert first[0] == "0"
    assert first[1] != "0"


@pytest.mark.parametrize(
    "command",
    [
        "unshare --user true",
        "unshare --mount true",
        "mount -t tmpfs none /mnt",
        "mknod /tmp/null c 1 3 && cat /tmp/null",
        "echo 1 > /proc/sys/kernel/sysrq",
        "echo b > /proc/sysrq-trigger",
        "cat /proc/kcore",
        "ls /proc/acpi/*",
        "touch /sys/kernel/x",
        "echo x >> /etc/hosts",
    ],
)
def test_it_may_not(clear: Place, command: str):
    clear.run(clear.container("plain"))

    output, code = clear.attempt("plain", command)

    assert code != 0, output


def test_clone3_is_unknown_and_vsock_denied(clear: Place):
    clear.run(clear.container("plain"))
    script = "syscall(435, 0, 0); print $!+0, qq{ }; socket(my $s, 40, 1, 0); print $!+0"  # numbers are 435 everywhere

    output = clear.sh("plain", f"perl -e '{script}'")

    assert output.split() == ["38", "1"]


def test_a_read_only_root_is_read_only(clear: Place):
    clear.run(clear.container("closed", confine=SecurityProfile(read_only=True), tmpfs=("/tmp",)))

    assert clear.attempt("closed", "touch /x")[1] != 0
    clear.sh("closed", "touch /tmp/x")


def test_an_added_capability_brings_its_system_calls(clear: Place):
    clear.run(clear.container("admin", confine=SecurityProfile(add_capabilities=("SYS_ADMIN",))))

    clear.sh("admin", "unshare --mount true")


def test_the_process_is_utc_and_named(clear: Place):
    clear.run(clear.container("plain"))

    assert clear.sh("plain", "hostname; date +%Z").split() == ["plain", "UTC"]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="a fact of the x86 table")
def test_the_profile_names_every_architecture_of_the_host():
    assert "SCMP_ARCH_X86" in runtime_spec.build_seccomp_profile()["architectures"]
