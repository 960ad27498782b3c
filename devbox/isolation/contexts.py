"""Where an instance's containers run: its runtime directory, its holder, the programs that isolate."""

from __future__ import annotations

import os

from devbox.errors import HostError
from devbox.host import environ, files, programs
from devbox.host.paths import Paths
from devbox.isolation import cgroups, namespaces
from devbox.isolation.idmap import store_map
from devbox.isolation.types import Context, ProcessRef


def runtime_program() -> str:
    """The OCI runtime of an instance's containers: $DEVBOX_RUNTIME, or crun. Bakes take crun: see `sandbox`."""
    chosen = environ.get("DEVBOX_RUNTIME", "crun")
    try:
        return programs.find(chosen)
    except HostError:
        if chosen in programs.PACKAGES:
            raise
        raise HostError(
            f"DEVBOX_RUNTIME names {chosen}, and there is no such program", remedy="unset DEVBOX_RUNTIME (crun is used)"
        ) from None


def check(paths: Paths) -> None:
    """HostError when this machine lacks something that an instance will need: said before anything is started."""
    for program in ("catatonit", "pasta", "nft"):
        programs.find(program)
    runtime_program()
    store_map(paths)


def make(paths: Paths, instance: str, holder: ProcessRef | None) -> Context:
    """The context of an instance, with the holder that stands or a new one."""
    run_dir = paths.run(instance)
    files.runtime_dir(paths.runtime)
    files.private_dir(run_dir)
    files.private_dir(paths.kept(instance), mode=0o700)
    files.private_dir(paths.crun_root(instance), mode=0o700)
    idmap = store_map(paths)
    init = programs.find("catatonit")
    kind, group = cgroups.settle(run_dir)
    return Context(
        instance=instance,
        run_dir=run_dir,
        oci_root=paths.crun_root(instance),
        runtime=runtime_program(),
        init=init,
        idmap=idmap,
        holder=holder or namespaces.start_holder(idmap, init),
        hosts=f"{run_dir}/hosts",
        resolv=f"{run_dir}/resolv.conf",
        cgroups=kind,
        group=group,
    )


def marker(run_dir: str) -> str:
    """The environment entry that tells the processes of one instance from all others on the machine."""
    return f"DEVBOX_SUPERVISED={os.path.normpath(run_dir)}"
