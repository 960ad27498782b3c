"""The bake worker: `python -m devbox.images.worker`. Makes one step in namespaces that die with devbox.

It only prepares files in a directory of its own; what becomes part of the store is decided by devbox, afterwards. What
only some jobs need is imported by them: loading it takes longer than many a job.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import replace

from devbox.errors import BakeFailed, DevboxError, HostError
from devbox.host import removal, trouble
from devbox.host.paths import Paths
from devbox.images import job as jobs
from devbox.images import workerprocess
from devbox.images.layer import AS_ON_DISK, Ownership, write_layer
from devbox.images.output import Output
from devbox.images.unpack import unpack
from devbox.isolation import idmap as idmaps
from devbox.isolation import sandbox
from devbox.isolation.types import IdMap, Range
from devbox.model import codec
from devbox.model.image import Bootstrap, Copy, Files, Packages, Run, describe

_FEW_CYCLES = 50_000  # new objects until cycles are looked for: a worker makes few, and ends before they matter


def main() -> int:
    """Read the job, do it, answer. 1 when it failed, with the reason as the last answer."""
    gc.set_threshold(_FEW_CYCLES)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.umask(0o022)  # the caller's must not show in layers
    asked = sys.stdin.readline()
    if asked == workerprocess.AHEAD:
        from devbox.images import inside, installed  # noqa: F401 - for a step that runs something

        asked = sys.stdin.readline()
    if not asked:
        return 0  # begun in vain
    plain = json.loads(asked)
    kinds: dict[str, type[jobs.Job]] = {
        kind.op: kind
        for kind in (
            *(jobs.StepJob, jobs.BuildJob, jobs.PruneJob, jobs.UnpackJob),
            *(jobs.OutputJob, jobs.ExtractJob, jobs.RemoveJob),
        )
    }
    job = codec.load(kinds[plain["op"]], plain)
    output = Output(1, job.log if isinstance(job, jobs.StepJob | jobs.BuildJob) else os.devnull)
    try:
        paths = Paths(job.home, job.runtime)
        idmap = idmaps.store_map(paths)
        sandbox.enter(idmap, parent=job.parent)
        output.answer(_done(job, paths, idmap, output))
    except DevboxError as error:
        output.answer(_failed(error))
        return 1
    except OSError as error:
        known = trouble.of_the_machine(error)
        unknown = BakeFailed(f"the work could not go on: {error}", details=output.tail())
        output.answer(_failed(known or unknown))
        return 1
    return 0


def _done(job: jobs.Job, paths: Paths, idmap: IdMap, output: Output) -> jobs.Done:
    match job:
        case jobs.StepJob():
            return _make(job, paths, idmap, output)
        case jobs.OutputJob():
            return _take(job, idmap)
        case jobs.BuildJob():
            from devbox.images.dockerfile.buildah import build

            build(job, idmap, output)
        case jobs.PruneJob():
            from devbox.images.dockerfile.buildah import prune

            prune(job, idmap)
        case jobs.UnpackJob():
            return _unpack(job, idmap)
        case jobs.ExtractJob():
            from devbox.images.build import taking

            taking.copy_out(job.paths, lowers=job.lowers, place=job.place, target=job.target, rootless=idmap.rootless)
        case jobs.RemoveJob():
            return _remove(job)
    return jobs.Done()


def _failed(error: DevboxError) -> jobs.Failed:
    of_host = isinstance(error, HostError)
    return jobs.Failed(sentence=error.sentence, details=error.details, remedy=error.remedy, of_host=of_host)


def _unpack(job: jobs.UnpackJob, idmap: IdMap) -> jobs.Done:
    snapshot = f"{job.place}/{jobs.SNAPSHOT}/fs"
    os.makedirs(snapshot, 0o755)
    unpack(job.blob, snapshot, rootless=idmap.rootless, promised=job.layer)
    return jobs.Done()


def _take(job: jobs.OutputJob, idmap: IdMap) -> jobs.Done:
    """Leave the output's layer and snapshot. All of it is root's: who builds leaves no users in an image."""
    from devbox.images.build import taking

    tree = taking.take(job.place, job.output)
    tar, snapshot = f"{job.place}/{jobs.LAYER_FILE}", f"{job.place}/{jobs.SNAPSHOT}/fs"
    with open(tar, "wb") as out:
        digest, size = write_layer(tree, out, ownership=Ownership(lambda _: 0, lambda _: 0))
    os.makedirs(snapshot, 0o755)
    unpack(tar, snapshot, rootless=idmap.rootless)
    return jobs.Done(digest=digest, size=size)


def _remove(job: jobs.RemoveJob) -> jobs.Done:
    for path in job.paths:  # another devbox may be removing it, too; what is left waits for the next time
        with suppress(OSError):
            removal.remove(path)
    return jobs.Done()


def _make(job: jobs.StepJob, paths: Paths, idmap: IdMap, output: Output) -> jobs.Done:
    """Run the step and leave its layer and snapshot."""
    from devbox.images import generated, installed
    from devbox.images.apt import Tick

    scratch = f"{job.place}/scratch"
    os.mkdir(scratch, 0o755)
    tar, snapshot = f"{job.place}/{jobs.LAYER_FILE}", f"{job.place}/{jobs.SNAPSHOT}/fs"
    try:
        tree, ownership = _run(job, paths, idmap, output, scratch=scratch)
        versions = installed.by_step(job.step, tree, job.lowers, output=job.output)
        installed.check(job.step, versions)
        output.tick(Tick("writing the layer"))
        with open(tar, "wb") as out:
            without = generated.by_packages if isinstance(job.step, Bootstrap | Packages) else None
            digest, size = write_layer(tree, out, ownership=ownership, without=without)
    finally:
        removal.remove(scratch)
    os.makedirs(snapshot, 0o755)
    unpack(tar, snapshot, rootless=idmap.rootless)
    return jobs.Done(digest=digest, size=size, packages=versions)


def _run(job: jobs.StepJob, paths: Paths, idmap: IdMap, output: Output, *, scratch: str) -> tuple[str, Ownership]:
    """Make the step's changes below `scratch`: the directory that holds them, and whose ids it has."""
    if isinstance(job.step, Bootstrap):
        from devbox.images.bootstrap import bootstrap

        archives = f"{paths.apt_cache(job.step.distribution, job.step.suite)}/archives"
        bootstrap(job.step, f"{scratch}/root", output, archives=archives)
        return f"{scratch}/root", AS_ON_DISK
    if isinstance(job.step, Files):
        from devbox.images.textfiles import write_files

        tree = write_files(job.step, lowers=job.lowers, place=scratch, rootless=idmap.rootless)
        return tree, AS_ON_DISK
    if isinstance(job.step, Copy):
        from devbox.images.build import taking

        tree = taking.copy_in(job.step, source=job.output, lowers=job.lowers, place=scratch, rootless=idmap.rootless)
        return tree, AS_ON_DISK
    from devbox.images.inside import Inside
    from devbox.images.osrelease import system_of

    inside = Inside(paths, idmap, output, lowers=job.lowers, place=scratch)
    try:
        if isinstance(job.step, Packages):
            inside.packages(job.step, job.base or system_of(job.lowers))
        elif isinstance(job.step, Run):
            inside.commands(replace(job.step, env={**job.env, **job.step.env}))
    except BakeFailed as error:
        if job.terminal >= 0 and inside.has_run:
            output.wait_for_terminal(f"{describe(job.step)}: {error.sentence}", error.details)
            inside.shell(job.terminal)
        raise
    return f"{scratch}/top/upper", container_ids(idmap)


def container_ids(idmap: IdMap) -> Ownership:
    """Ids as a container's files have them on disk, back to the container's own.

    Rootless, the worker is in the map already and sees the container's ids.
    """
    if idmap.rootless:
        return AS_ON_DISK
    return Ownership(lambda number: _inside(idmap.uids, number), lambda number: _inside(idmap.gids, number))


def _inside(ranges: tuple[Range, ...], number: int) -> int:
    for span in ranges:
        if span.outside <= number < span.outside + span.count:
            return number - span.outside + span.inside
    raise BakeFailed(f"the step left a file of host id {number}, which is outside the store's range")


if __name__ == "__main__":
    code = main()
    gc.freeze()  # nothing is looked for in what goes with the process
    raise SystemExit(code)
