"""Build worker processes from devbox's side: start, responses, termination with devbox."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import sys
from collections import deque
from collections.abc import Callable
from typing import IO, Any, Self

from devbox.errors import BakeFailed, HostError
from devbox.host import process
from devbox.host.paths import Paths
from devbox.images.bake import jobs
from devbox.images.bake.messages import AHEAD, Done, Failed, Progress, Stopped, parse_message
from devbox.images.bake.output import Lender
from devbox.images.layers import unpack as unpacking
from devbox.images.layers.tar import ExpectedLayer
from devbox.images.store import snapshots
from devbox.model import codec
from devbox.model.image import BakeStep, Bootstrap, Copy, FromDockerfile, KeyedStep, Layer, Run, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_MODULE = "devbox.images.worker"


class WorkerProcess:
    """A worker that reads its job from `stdin` and responds on `stdout`; as a context, killed on an exception."""

    def __init__(self, *, lent: tuple[int, ...] = ()) -> None:
        """Start a worker; `lent` are additional descriptors that it inherits."""
        ask, answers = os.pipe(), os.pipe()
        argv = [sys.executable, "-s", "-P", "-m", _MODULE]  # -P: never import from the project's directory
        self._child = process.spawn(argv, stdin=ask[0], stdout=answers[1], stderr=answers[1], pass_fds=lent)
        self._is_done = False
        os.close(ask[0])
        os.close(answers[1])
        self.stdin = open(ask[1], "w", encoding="utf-8")  # noqa: SIM115 - closed by __exit__
        self.stdout = open(answers[0], encoding="utf-8", errors="replace")  # noqa: SIM115

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None:
            self._child.kill()
        with contextlib.suppress(BrokenPipeError):  # the worker died before it read its input
            self.stdin.close()
        self.stdout.close()
        if self._is_done:
            _leaving[:] = [*(each for each in _leaving if not each.has_exited()), self]
        else:
            self._child.wait()

    def mark_done(self) -> None:
        """Mark the job as done: the worker's exit need not be awaited."""
        self._is_done = True

    def has_exited(self, *, wait: bool = False) -> bool:
        """Return whether the process has exited."""
        return (self._child.wait() if wait else self._child.poll()) is not None

    def kill(self) -> None:
        """Kill the worker."""
        self._child.kill()
        self.__exit__(None, None, None)


_prestarted: deque[WorkerProcess] = deque()
_leaving: list[WorkerProcess] = []


@atexit.register
def _reap_workers() -> None:
    """Wait for all remaining workers at exit."""
    for worker in _leaving:
        worker.has_exited(wait=True)


def prestart_worker(paths: Paths) -> None:
    """Start a worker for the next job. Call from the main thread: a worker dies with its parent thread."""
    if not _prestarted:
        worker = WorkerProcess()
        ahead = {"op": AHEAD, "home": paths.home, "runtime": paths.runtime, "parent": os.getpid()}
        with contextlib.suppress(BrokenPipeError):  # the worker died: its next user will notice
            worker.stdin.write(f"{json.dumps(ahead)}\n")
            worker.stdin.flush()
        _prestarted.append(worker)


def acquire_worker(*, lent: tuple[int, ...] = ()) -> WorkerProcess:
    """Return the prestarted worker, or a new one."""
    try:
        return WorkerProcess(lent=lent) if lent else _prestarted.popleft()
    except IndexError:
        return WorkerProcess()


def kill_prestarted() -> None:
    """Kill the prestarted worker if unused."""
    while _prestarted:
        _prestarted.popleft().kill()


class Workers:
    """Runs jobs of one store in workers, which end with this process in every case."""

    def __init__(self, paths: Paths, lender: Lender | None = None) -> None:
        """Run jobs of one store; with a `lender`, a failed step gets a shell on its terminal."""
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
        """Run a step in `place`. Raises BakeFailed with the last lines and the path of the log.

        With a terminal, first open a shell in the failed step's state.
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
            terminal=self._get_terminal(),
            project=project,
            output=self._find_output(step.step),
        )
        answer = self._run(job, on_progress)
        if isinstance(answer, Done):
            return answer
        raise _build_error(step.describe, answer, log)

    def build(
        self,
        step: FromDockerfile,
        key: str,
        *,
        place: str,
        source: jobs.DockerfileSource,
        images: dict[str, str],
        known: tuple[str, ...],
        use: str,
        on_progress: Callable[[Progress], None],
    ) -> None:
        """Build a Dockerfile in `place`, known as `use` in the cache. Raises BakeFailed like `make`."""
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
            terminal=self._get_terminal(),
        )
        answer = self._run(job, on_progress)
        if isinstance(answer, Failed):
            raise _build_error(describe(step), answer, job.log)

    def prune(self, images: tuple[str, ...], *, kept: tuple[str, ...], place: str) -> None:
        """Remove images from buildah's storage; remaining ones are retried next time."""
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
                f"cannot shrink the Dockerfile cache: {answer.sentence}",
                details=answer.details,
                remedy=answer.remedy or f"remove the cache: rm -rf {self._paths.buildah}",
            )

    def unpack(self, layer: Layer, *, blob: str, place: str) -> None:
        """Unpack a layer in `place`; raise BakeFailed if it does not match its description."""
        promised = ExpectedLayer(layer.size, layer.digest, layer.diff_id)
        job = unpacking.UnpackJob(self._paths.home, self._paths.runtime, os.getpid(), place, blob, promised)
        answer = self._submit(unpacking.dump_job(job), lambda _: None)
        if isinstance(answer, Failed):
            kind = HostError if answer.of_host else BakeFailed
            remedy = answer.remedy or "use another tag, or report it to the image's author"
            raise kind(answer.sentence, details=answer.details, remedy=remedy)

    def make_output(self, place: str, output: tuple[str, ...]) -> Done:
        """Collect a build's output from its work directory; raise BakeFailed if a part is missing."""
        runtime, parent = self._paths.runtime, os.getpid()
        job = jobs.OutputJob(home=self._paths.home, runtime=runtime, parent=parent, place=place, output=output)
        return self._run_checked(job)

    def extract(self, paths: tuple[str, ...], *, lowers: tuple[str, ...], place: str, target: str) -> None:
        """Copy files of an image into `target`, by number; raise BakeFailed if one is missing."""
        job = jobs.ExtractJob(
            home=self._paths.home,
            runtime=self._paths.runtime,
            parent=os.getpid(),
            place=place,
            target=target,
            lowers=lowers,
            paths=paths,
        )
        self._run_checked(job)

    def _run_checked(self, job: jobs.Job) -> Done:
        answer = self._run(job, lambda _: None)
        if isinstance(answer, Failed):
            kind = HostError if answer.of_host else BakeFailed
            raise kind(answer.sentence, details=answer.details, remedy=answer.remedy)
        return answer

    def _find_output(self, step: BakeStep) -> str:
        """Return the output directory of `[build]` for a step that uses it."""
        output = step.output if isinstance(step, Copy | Run) else ""
        return snapshots.get_snapshot_dir(self._paths, output) if output else ""

    def remove(self, paths: tuple[str, ...]) -> None:
        """Remove directories of the store with files of its ids."""
        job = jobs.RemoveJob(home=self._paths.home, runtime=self._paths.runtime, parent=os.getpid(), paths=paths)
        answer = self._run(job, lambda _: None)
        if isinstance(answer, Failed):
            raise BakeFailed(
                f"cannot remove old files of the store: {answer.sentence}",
                details=answer.details,
                remedy=answer.remedy or "find the cause with: devbox doctor",
            )

    def _get_terminal(self) -> int:
        return self._lender.fd if self._lender else -1

    def _run(self, job: jobs.Job, on_progress: Callable[[Progress], None]) -> Done | Failed:
        return self._submit(codec.dump(job), on_progress)

    def _submit(self, job: dict[str, Any], on_progress: Callable[[Progress], None]) -> Done | Failed:
        with acquire_worker(lent=(self._lender.fd,) if self._lender else ()) as worker:
            _send_line(worker.stdin, json.dumps(job))
            answer = self._follow(worker.stdin, worker.stdout, on_progress)
            if isinstance(answer, Done):
                worker.mark_done()
            return answer

    def _follow(self, stdin: IO[str], stdout: IO[str], on_progress: Callable[[Progress], None]) -> Done | Failed:
        """Handle progress until the final response. Other lines are output of a broken worker."""
        noise: list[str] = []
        result: Done | Failed | None = None
        with contextlib.ExitStack() as lease:
            for line in stdout:
                answer = parse_message(line)
                if answer is None:
                    noise.append(line)
                elif isinstance(answer, Progress):
                    on_progress(answer)
                elif isinstance(answer, Stopped):
                    if self._lender:
                        lease.enter_context(self._lender.lend(answer.sentence, answer.details))
                    _send_line(stdin, "go on")
                elif isinstance(answer, Done):
                    return answer
                else:
                    result = answer
        return result or Failed(
            sentence="the worker process exited unexpectedly", details="".join(noise[-15:]), remedy=""
        )


def _build_error(what: str, answer: Failed, log: str) -> HostError | BakeFailed:
    kind = HostError if answer.of_host else BakeFailed
    return kind(
        f"{what}: {answer.sentence}",
        details=answer.details,
        remedy="; ".join(filter(None, (answer.remedy, f"full output: {log}"))),
    )


def _send_line(stdin: IO[str], line: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # the worker died: the end of its responses reveals that
        stdin.write(f"{line}\n")
        stdin.flush()
