"""devbox's side of the bake workers: start one, follow its answers, end it when devbox ends."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from typing import IO, Any

from devbox.errors import BakeFailed, HostError
from devbox.host.paths import Paths
from devbox.images import job as jobs
from devbox.images import snapshots, workerprocess
from devbox.images.answer import Done, Failed, Progress, Stopped, heard
from devbox.images.lending import Lender
from devbox.images.tarstream import Promise
from devbox.images.unpacking import task as unpacking
from devbox.images.unpacking.task import UnpackJob
from devbox.model import codec
from devbox.model.image import BakeStep, Bootstrap, Copy, FromDockerfile, KeyedStep, Layer, Run, describe


class Workers:
    """Starts the workers of one store. Each ends with this process, however that ends."""

    def __init__(self, paths: Paths, lender: Lender | None = None) -> None:
        """With a `lender`, a step that fails gets a shell on its terminal."""
        self._paths = paths
        self._lender = lender

    def make(
        self,
        step: KeyedStep,
        *,
        place: str,
        lowers: tuple[str, ...],
        base: Bootstrap | None,
        env: dict[str, str],
        project: str,
        on_progress: Callable[[Progress], None],
    ) -> Done:
        """Have a step made in `place`. Raises BakeFailed with the last lines and the path of the whole log.

        Where there is a terminal, a shell in what the step left comes before that.
        """
        log = self._paths.bake_log(step.key)
        job = jobs.StepJob(
            home=self._paths.home,
            runtime=self._paths.runtime,
            parent=os.getpid(),
            place=place,
            log=log,
            step=step.step,
            lowers=lowers,
            base=base,
            env=env,
            terminal=self._terminal(),
            project=project,
            output=self._output(step.step),
        )
        answer = self._run(job, on_progress)
        if isinstance(answer, Done):
            return answer
        raise _failed(step.describe, answer, log)

    def build(
        self,
        step: FromDockerfile,
        key: str,
        *,
        place: str,
        source: jobs.Source,
        images: dict[str, str],
        known: tuple[str, ...],
        use: str,
        on_progress: Callable[[Progress], None],
    ) -> None:
        """Have a Dockerfile built in `place`, known as `use` in the cache. Raises BakeFailed as `make` does."""
        job = jobs.BuildJob(
            home=self._paths.home,
            runtime=self._paths.runtime,
            parent=os.getpid(),
            place=place,
            log=self._paths.bake_log(key),
            storage=self._paths.buildah,
            blobs=f"{self._paths.oci}/blobs/sha256",
            known=known,
            dockerfile=source.dockerfile,
            context=source.context,
            ignore=source.ignore,
            target=step.target,
            args=step.args,
            images=images,
            use=use,
            terminal=self._terminal(),
        )
        answer = self._run(job, on_progress)
        if isinstance(answer, Failed):
            raise _failed(describe(step), answer, job.log)

    def prune(self, images: tuple[str, ...], *, kept: tuple[str, ...], place: str) -> None:
        """Have images removed from buildah's storage. What is still there afterwards waits for the next time."""
        job = jobs.PruneJob(
            home=self._paths.home,
            runtime=self._paths.runtime,
            parent=os.getpid(),
            place=place,
            storage=self._paths.buildah,
            images=images,
            kept=kept,
        )
        answer = self._run(job, lambda _: None)
        if isinstance(answer, Failed):
            raise BakeFailed(
                f"could not shrink the cache of Dockerfiles: {answer.sentence}",
                details=answer.details,
                remedy=answer.remedy or f"remove all of it: rm -rf {self._paths.buildah}",
            )

    def unpack(self, layer: Layer, *, blob: str, place: str) -> None:
        """Have a layer unpacked in `place`. Raises BakeFailed when it is not what it should be."""
        promised = Promise(layer.size, layer.digest, layer.diff_id)
        job = UnpackJob(self._paths.home, self._paths.runtime, os.getpid(), place, blob, promised)
        answer = self._tell(unpacking.dump(job), lambda _: None)
        if isinstance(answer, Failed):
            kind = HostError if answer.of_host else BakeFailed
            remedy = answer.remedy or "take another tag, or tell who made the image"
            raise kind(answer.sentence, details=answer.details, remedy=remedy)

    def output(self, place: str, output: tuple[str, ...]) -> Done:
        """Have the output of a build taken out of its work. Raises BakeFailed where a part of it is not there."""
        runtime, parent = self._paths.runtime, os.getpid()
        job = jobs.OutputJob(home=self._paths.home, runtime=runtime, parent=parent, place=place, output=output)
        return self._done(job)

    def extract(self, paths: tuple[str, ...], *, lowers: tuple[str, ...], place: str, target: str) -> None:
        """Have files of an image copied out, into `target`, by their number. Raises BakeFailed where one is missing."""
        job = jobs.ExtractJob(
            home=self._paths.home,
            runtime=self._paths.runtime,
            parent=os.getpid(),
            place=place,
            target=target,
            lowers=lowers,
            paths=paths,
        )
        self._done(job)

    def _done(self, job: jobs.Job) -> Done:
        answer = self._run(job, lambda _: None)
        if isinstance(answer, Failed):
            kind = HostError if answer.of_host else BakeFailed
            raise kind(answer.sentence, details=answer.details, remedy=answer.remedy)
        return answer

    def _output(self, step: BakeStep) -> str:
        """Where the output of `[build]` lies that a step is about."""
        output = step.output if isinstance(step, Copy | Run) else ""
        return snapshots.directory(self._paths, output) if output else ""

    def remove(self, paths: tuple[str, ...]) -> None:
        """Remove directories of the store that hold files of its ids."""
        job = jobs.RemoveJob(home=self._paths.home, runtime=self._paths.runtime, parent=os.getpid(), paths=paths)
        answer = self._run(job, lambda _: None)
        if isinstance(answer, Failed):
            raise BakeFailed(
                f"could not remove old files of the store: {answer.sentence}",
                details=answer.details,
                remedy=answer.remedy or "devbox doctor looks for the cause",
            )

    def _terminal(self) -> int:
        return self._lender.fd if self._lender else -1

    def _run(self, job: jobs.Job, on_progress: Callable[[Progress], None]) -> Done | Failed:
        return self._tell(codec.dump(job), on_progress)

    def _tell(self, job: dict[str, Any], on_progress: Callable[[Progress], None]) -> Done | Failed:
        with workerprocess.take(lent=(self._lender.fd,) if self._lender else ()) as worker:
            _say(worker.stdin, json.dumps(job))
            answer = self._follow(worker.stdin, worker.stdout, on_progress)
            if isinstance(answer, Done):
                worker.done()
            return answer

    def _follow(self, stdin: IO[str], stdout: IO[str], on_progress: Callable[[Progress], None]) -> Done | Failed:
        """Pass progress on until the last answer. Lines that are no answers are what a broken worker printed."""
        noise: list[str] = []
        result: Done | Failed | None = None
        with contextlib.ExitStack() as lease:
            for line in stdout:
                answer = heard(line)
                if answer is None:
                    noise.append(line)
                elif isinstance(answer, Progress):
                    on_progress(answer)
                elif isinstance(answer, Stopped):
                    if self._lender:
                        lease.enter_context(self._lender.lent(answer.sentence, answer.details))
                    _say(stdin, "go on")
                elif isinstance(answer, Done):
                    return answer
                else:
                    result = answer
        return result or Failed(sentence="its worker died", details="".join(noise[-15:]), remedy="")


def _failed(what: str, answer: Failed, log: str) -> HostError | BakeFailed:
    kind = HostError if answer.of_host else BakeFailed
    return kind(
        f"{what}: {answer.sentence}",
        details=answer.details,
        remedy="; ".join(filter(None, (answer.remedy, f"the whole output: {log}"))),
    )


def _say(stdin: IO[str], line: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # a worker that died: its answers end, which tells
        stdin.write(f"{line}\n")
        stdin.flush()
