"""Jobs of a build worker: a step, a Dockerfile, the output of a build."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from devbox.errors import BakeFailed
from devbox.host import disk, os_errors
from devbox.host.paths import Paths
from devbox.images.bake import jobs
from devbox.images.bake.messages import Done
from devbox.images.bake.output import JobOutput
from devbox.images.layers.pack import AS_ON_DISK, Ownership, write_layer
from devbox.images.layers.unpack import SNAPSHOT, unpack
from devbox.isolation.types import IdMap, Range
from devbox.model import codec
from devbox.model.image import Bootstrap, Copy, Files, Packages, Run, describe

if TYPE_CHECKING:
    from devbox.images.bake.steps import BuildSandbox

_KINDS: dict[str, type[jobs.Job]] = {
    kind.op: kind
    for kind in (jobs.StepJob, jobs.BuildJob, jobs.PruneJob, jobs.OutputJob, jobs.ExtractJob, jobs.RemoveJob)
}


def load_job(plain: dict[str, Any]) -> jobs.Job:
    """Load the job from its JSON."""
    return codec.load(_KINDS[plain["op"]], plain)


def run_job(job: jobs.Job, paths: Paths, idmap: IdMap, sandbox: BuildSandbox | None = None) -> Done:
    """Run a job in the sandbox, with its containers on `sandbox` if prestarted.

    Raises DevboxError, with the programs' last lines if the cause is unknown.
    """
    output = JobOutput(1, job.log if isinstance(job, jobs.StepJob | jobs.BuildJob) else os.devnull)
    try:
        return _dispatch(job, paths, idmap, output, sandbox)
    except OSError as error:
        unknown = BakeFailed(f"cannot continue: {error}", details=output.read_tail())
        raise os_errors.from_os_error(error) or unknown from None


def _dispatch(job: jobs.Job, paths: Paths, idmap: IdMap, output: JobOutput, sandbox: BuildSandbox | None) -> Done:
    match job:
        case jobs.StepJob():
            return _make_step(job, paths, idmap, output, sandbox)
        case jobs.OutputJob():
            return _make_output(job, idmap)
        case jobs.BuildJob():
            from devbox.images.dockerfile.buildah import build

            build(job, idmap, output)
        case jobs.PruneJob():
            from devbox.images.dockerfile.buildah import prune

            prune(job, idmap)
        case jobs.ExtractJob():
            from devbox.images.bake import overlay

            overlay.copy_out(job.paths, lowers=job.lowers, place=job.place, target=job.target, rootless=idmap.rootless)
        case jobs.RemoveJob():
            return _remove(job)
    return Done()


def _make_output(job: jobs.OutputJob, idmap: IdMap) -> Done:
    """Write the output's layer and snapshot. Everything belongs to root: build users are not part of an image."""
    from devbox.images.bake import overlay

    tree = overlay.collect_output(job.place, job.output)
    tar, snapshot = f"{job.place}/{jobs.LAYER_FILE}", f"{job.place}/{SNAPSHOT}/fs"
    with open(tar, "wb") as out:
        digest, size = write_layer(tree, out, ownership=Ownership(lambda _: 0, lambda _: 0))
    os.makedirs(snapshot, 0o755)
    unpack(tar, snapshot, rootless=idmap.rootless)
    return Done(digest=digest, size=size)


def _remove(job: jobs.RemoveJob) -> Done:
    for path in job.paths:  # another devbox may be removing it, too; leftovers are removed next time
        with suppress(OSError):
            disk.remove(path)
    return Done()


def _make_step(job: jobs.StepJob, paths: Paths, idmap: IdMap, output: JobOutput, sandbox: BuildSandbox | None) -> Done:
    """Run the step; write its layer and snapshot."""
    from devbox.images.bake import installed, steps
    from devbox.images.bake.apt import Tick

    scratch = f"{job.place}/scratch"
    os.mkdir(scratch, 0o755)
    tar, snapshot = f"{job.place}/{jobs.LAYER_FILE}", f"{job.place}/{SNAPSHOT}/fs"
    try:
        tree, ownership = _run(job, paths, idmap, output, sandbox, scratch=scratch)
        versions = installed.find_installed(job.step, tree, job.lowers, output=job.output)
        installed.check_pins(job.step, versions)
        output.report_progress(Tick("writing the layer"))
        with open(tar, "wb") as out:
            without = steps.is_generated if isinstance(job.step, Bootstrap | Packages) else None
            digest, size = write_layer(tree, out, ownership=ownership, without=without)
    finally:
        with suppress(OSError):  # the step's own error is reported, and remaining files are left to `sweep`
            disk.remove(scratch)
    os.makedirs(snapshot, 0o755)
    unpack(tar, snapshot, rootless=idmap.rootless)
    return Done(digest=digest, size=size, packages=versions)


def _run(
    job: jobs.StepJob, paths: Paths, idmap: IdMap, output: JobOutput, sandbox: BuildSandbox | None, *, scratch: str
) -> tuple[str, Ownership]:
    """Make the step's changes below `scratch`; return their directory and the ownership of its ids."""
    if isinstance(job.step, Bootstrap):
        from devbox.images.bake.apt_cache import AptCache
        from devbox.images.bake.bootstrap import bootstrap

        bootstrap(job.step, f"{scratch}/root", output, archives=AptCache(paths, job.step).debs)
        return f"{scratch}/root", AS_ON_DISK
    if isinstance(job.step, Files):
        from devbox.images.bake.steps import write_files

        tree = write_files(job.step, lowers=job.lowers, place=scratch, rootless=idmap.rootless)
        return tree, AS_ON_DISK
    if isinstance(job.step, Copy):
        from devbox.images.bake import overlay

        tree = overlay.copy_in(job.step, source=job.output, lowers=job.lowers, place=scratch, rootless=idmap.rootless)
        return tree, AS_ON_DISK
    from devbox.images.bake.bootstrap import detect_system
    from devbox.images.bake.steps import BuildSandbox, StepRunner

    sandbox = sandbox or BuildSandbox(paths, idmap)
    inside = StepRunner(paths, sandbox, output, lowers=job.lowers, place=scratch, project=job.project)
    try:
        if isinstance(job.step, Packages):
            inside.install_packages(job.step, job.base or detect_system(job.lowers))
        elif isinstance(job.step, Run):
            inside.run_commands(replace(job.step, env={**job.env, **job.step.env}))
    except BakeFailed as error:
        if job.terminal >= 0 and inside.has_run:
            output.wait_for_terminal(f"{describe(job.step)}: {error.sentence}", error.details)
            inside.run_shell(job.terminal)
        raise
    sandbox.stop()  # takes a while: in parallel with the remaining work
    return f"{scratch}/top/upper", build_ownership(idmap)


def build_ownership(idmap: IdMap) -> Ownership:
    """Return the map from on-disk ids of a container's files to container ids.

    Rootless, the worker is inside the map and sees container ids.
    """
    if idmap.rootless:
        return AS_ON_DISK
    return Ownership(
        lambda number: _map_to_container(idmap.uids, number), lambda number: _map_to_container(idmap.gids, number)
    )


def _map_to_container(ranges: tuple[Range, ...], number: int) -> int:
    for span in ranges:
        if span.outside <= number < span.outside + span.count:
            return number - span.outside + span.inside
    raise BakeFailed(f"the step left a file with host id {number}, outside the store's range")
