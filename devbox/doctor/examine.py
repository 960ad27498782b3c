"""The examination: every check, in the order a person reads the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from devbox.doctor import kernel, network, ports, programs, projects, storage
from devbox.doctor.finding import PROBLEM, Finding, Ground
from devbox.errors import DevboxError

CHECKS: tuple[Callable[[Ground], Iterator[Finding]], ...] = (
    kernel.version,
    kernel.user_namespaces,
    kernel.overlay,
    kernel.idmapped_mounts,
    kernel.seccomp,
    kernel.control_groups,
    kernel.tun,
    kernel.bridge_filter,
    programs.programs,
    programs.optional,
    programs.runtime,
    programs.keyrings,
    storage.home,
    storage.host_key,
    storage.disk,
    storage.runtime_state,
    storage.subordinate_ids,
    network.reach,
    network.carried,
    ports.project,
    projects.leftovers,
)


def examine(ground: Ground) -> Iterator[Finding]:
    """Everything that is found. A check that stumbles is a finding, and the others go on."""
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            yield from check(ground)
        except DevboxError as error:
            yield Finding(name, PROBLEM, error.sentence, error.remedy)
        except Exception as error:  # noqa: BLE001 - whoever asks a doctor has trouble enough
            yield Finding(name, PROBLEM, f"this check failed: {error}", "DEVBOX_DEBUG=1 devbox up shows where")
