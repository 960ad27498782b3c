"""All checks, in output order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from devbox.doctor import kernel, leftovers, network, ports, programs, storage
from devbox.doctor.checks import PROBLEM, CheckContext, CheckResult
from devbox.errors import DevboxError

CHECKS: tuple[Callable[[CheckContext], Iterator[CheckResult]], ...] = (
    kernel.check_version,
    kernel.check_user_namespaces,
    kernel.check_overlay,
    kernel.check_idmapped_mounts,
    kernel.check_seccomp,
    kernel.check_control_groups,
    kernel.check_tun,
    kernel.check_bridge_filter,
    programs.check_programs,
    programs.check_optional,
    programs.check_oci_runtime,
    programs.check_keyrings,
    storage.check_home,
    storage.check_host_key,
    storage.check_disk,
    storage.check_runtime_state,
    storage.check_subordinate_ids,
    network.check_mirrors,
    network.check_host_settings,
    ports.check_project,
    leftovers.check_leftovers,
)


def examine(ground: CheckContext) -> Iterator[CheckResult]:
    """Run all checks. A check that fails is reported as a problem, and the others continue."""
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            yield from check(ground)
        except DevboxError as error:
            yield CheckResult(name, PROBLEM, error.sentence, error.remedy)
        except Exception as error:  # noqa: BLE001 - a crashing check must not end the examination
            yield CheckResult(
                name, PROBLEM, f"check failed: {error}", "show the traceback with: DEVBOX_DEBUG=1 devbox up"
            )
