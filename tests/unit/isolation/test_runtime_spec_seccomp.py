"""The seccomp table of system calls."""

from __future__ import annotations

import pytest

from devbox.isolation import runtime_spec


def _rules(call: str, *added: str) -> list[dict[str, object]]:
    return [rule for rule in runtime_spec.build_seccomp_profile(added)["syscalls"] if call in rule["names"]]


def test_no_call_is_named_twice():
    assert len(set(runtime_spec.ALLOWED)) == len(runtime_spec.ALLOWED)


@pytest.mark.parametrize(
    "call",
    [
        *("mount", "unshare", "setns", "bpf", "keyctl", "add_key", "io_uring_setup", "userfaultfd", "perf_event_open"),
        *("init_module", "kexec_load", "open_by_handle_at", "pivot_root", "reboot", "swapon", "quotactl"),
    ],
)
def test_what_reaches_the_kernel_or_the_host_is_denied(call: str):
    assert not _rules(call)


def test_clone_may_make_no_namespace_and_clone3_is_unknown():
    (clone,) = _rules("clone")
    (clone3,) = _rules("clone3")

    assert clone["args"] == [{"index": 0, "value": 0x7E020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


def test_sockets_of_the_hypervisor_and_of_kernel_crypto_are_denied():
    def allowed(family: int) -> bool:
        compare = {"SCMP_CMP_LT": family.__lt__, "SCMP_CMP_EQ": family.__eq__, "SCMP_CMP_GT": family.__gt__}
        return any(compare[rule["args"][0]["op"]](rule["args"][0]["value"]) for rule in _rules("socket"))

    assert [family for family in range(46) if not allowed(family)] == [38, 40]


def test_a_capability_opens_its_calls():
    (rule,) = _rules("mount", "SYS_ADMIN")

    assert rule["action"] == "SCMP_ACT_ALLOW"
    assert {"unshare", "clone3", "setns"} <= set(rule["names"])


@pytest.mark.parametrize(("machine", "first"), [("x86_64", "SCMP_ARCH_X86_64"), ("aarch64", "SCMP_ARCH_AARCH64")])
def test_the_hosts_architecture_comes_first(machine: str, first: str):
    assert runtime_spec.build_seccomp_profile(machine=machine)["architectures"][0] == first
