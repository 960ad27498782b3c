"""A throw-away place for bakes: namespaces that die with devbox, containers over layers without cgroups."""

from __future__ import annotations

from devbox.isolation.types import Bind, IdMap, Process


def enter(idmap: IdMap, *, parent: int) -> None:
    """Make this process root of the store in private mount and pid namespaces (rootless: and its user namespace).

    It forks: the caller goes on in the child as pid 1 of the pid namespace; the waiting half mirrors its exit code.
    When `parent` (devbox, whose child this process is) dies, everything in the pid namespace is killed at once.
    The process must be single-threaded. Root keeps host ids: what containers write is owned by the idmap's range.
    """
    raise NotImplementedError


def run(
    idmap: IdMap,
    process: Process,
    *,
    lowers: tuple[str, ...],
    top: str,
    work: str,
    network: str,
    binds: tuple[Bind, ...] = (),
    output: int,
) -> int:
    """Run a process in a container over `lowers` (topmost first), its changes in `top`/upper; its exit code.

    Only after `enter`. `work` is an empty scratch directory; `network` "egress" or "none"; stdout and stderr go to the
    descriptor `output`. /etc/resolv.conf and /etc/hosts are mounted, as are the binds: their empty mount points (and
    /.devbox) stay behind in the upper directory and do not belong into a layer.
    """
    raise NotImplementedError
