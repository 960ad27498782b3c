"""devbox's side of the bake workers: start one, follow its answers, end it when devbox ends."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import IO

from devbox.errors import BakeFailed, HostError
from devbox.host import process
from devbox.host.paths import Paths
from devbox.images import job as jobs
from devbox.model import codec
from devbox.model.image import Bootstrap, FromDockerfile, KeyedStep, Layer, describe

_MODULE = "devbox.images.worker"


class Workers:
    """Starts the workers of one store. Each ends with this process, however that ends."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def make(
        self,
        step: KeyedStep,
        *,
        place: str,
        lowers: tuple[str, ...],
        base: Bootstrap | None,
        env: dict[str, str],
        on_progress: Callable[[jobs.Progress], None],
    ) -> jobs.Done:
        """Have a step made in `place`. Raises BakeFailed with the last lines and the path of the whole log."""
        log = self._log(step.key)
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
        )
        answer = self._run(job, on_progress)
        if isinstance(answer, jobs.Done):
            return answer
        raise _failed(step.describe, answer, log)

    def build(
        self,
        step: FromDockerfile,
        key: str,
        *,
        place: str,
        ignore: str,
        images: dict[str, str],
        known: tuple[str, ...],
        on_progress: Callable[[jobs.Progress], None],
    ) -> None:
        """Have a Dockerfile built in `place`. Raises BakeFailed as `make` does."""
        job = jobs.BuildJob(
            home=self._paths.home,
            runtime=self._paths.runtime,
            parent=os.getpid(),
            place=place,
            log=self._log(key),
            storage=self._paths.buildah,
            blobs=f"{self._paths.oci}/blobs/sha256",
            known=known,
            dockerfile=f"{step.root}/{step.path}",
            context=os.path.normpath(f"{step.root}/{step.context}"),
            ignore=ignore,
            target=step.target,
            args=step.args,
            images=images,
        )
        answer = self._run(job, on_progress)
        if isinstance(answer, jobs.Failed):
            raise _failed(describe(step), answer, job.log)

    def unpack(self, layer: Layer, *, blob: str, place: str) -> None:
        """Have a layer unpacked in `place`. Raises BakeFailed when it is not what it should be."""
        runtime, parent = self._paths.runtime, os.getpid()
        job = jobs.UnpackJob(home=self._paths.home, runtime=runtime, parent=parent, place=place, blob=blob, layer=layer)
        answer = self._run(job, lambda _: None)
        if isinstance(answer, jobs.Failed):
            kind = HostError if answer.of_host else BakeFailed
            remedy = answer.remedy or "take another tag, or tell who made the image"
            raise kind(answer.sentence, details=answer.details, remedy=remedy)

    def remove(self, paths: tuple[str, ...]) -> None:
        """Remove directories of the store that hold files of its ids."""
        job = jobs.RemoveJob(home=self._paths.home, runtime=self._paths.runtime, parent=os.getpid(), paths=paths)
        answer = self._run(job, lambda _: None)
        if isinstance(answer, jobs.Failed):
            raise BakeFailed(
                f"could not remove old files of the store: {answer.sentence}",
                details=answer.details,
                remedy=answer.remedy or "devbox doctor looks for the cause",
            )

    def _log(self, key: str) -> str:
        return f"{self._paths.home}/logs/bake/{key.removeprefix('sha256:')[:12]}.log"

    def _run(self, job: jobs.Job, on_progress: Callable[[jobs.Progress], None]) -> jobs.Done | jobs.Failed:
        ask, answers = os.pipe(), os.pipe()
        argv = [sys.executable, "-s", "-P", "-m", _MODULE]  # -P: never from the project's directory
        worker = process.spawn(argv, stdin=ask[0], stdout=answers[1], stderr=answers[1])
        os.close(ask[0])
        os.close(answers[1])
        try:
            with open(ask[1], "w", encoding="utf-8") as stdin:
                json.dump(codec.dump(job), stdin)
            with open(answers[0], encoding="utf-8", errors="replace") as stdout:
                return _follow(stdout, on_progress)
        except BaseException:
            worker.kill()
            raise
        finally:
            worker.wait()


def _failed(what: str, answer: jobs.Failed, log: str) -> HostError | BakeFailed:
    kind = HostError if answer.of_host else BakeFailed
    return kind(
        f"{what}: {answer.sentence}",
        details=answer.details,
        remedy="; ".join(filter(None, (answer.remedy, f"the whole output: {log}"))),
    )


def _follow(lines: IO[str], on_progress: Callable[[jobs.Progress], None]) -> jobs.Done | jobs.Failed:
    """Pass progress on until the last answer. Lines that are no answers are what a broken worker printed."""
    noise: list[str] = []
    result: jobs.Done | jobs.Failed | None = None
    for line in lines:
        answer = _parse(line)
        if answer is None:
            noise.append(line)
        elif isinstance(answer, jobs.Progress):
            on_progress(answer)
        else:
            result = answer
    return result or jobs.Failed(sentence="its worker died", details="".join(noise[-15:]), remedy="")


def _parse(line: str) -> jobs.Answer | None:
    kinds: dict[str, type[jobs.Answer]] = {kind.op: kind for kind in (jobs.Progress, jobs.Done, jobs.Failed)}
    try:
        plain = json.loads(line)
        return codec.load(kinds[plain["op"]], plain)
    except (ValueError, TypeError, KeyError):
        return None
