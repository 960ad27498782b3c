"""Task runner in dev: needs run in parallel, up-to-date tasks are skipped."""

from __future__ import annotations

from collections.abc import Callable

from devbox.errors import CommandFailed
from devbox.execute import runner
from devbox.execute.events import Note, Sink
from devbox.host import process
from devbox.host.repository import files
from devbox.model import codec, ids
from devbox.model.observed import TaskDone
from devbox.model.plan import Op
from devbox.model.spec import Spec, Task
from devbox.plan import tasks
from devbox.project import Project, prepare
from devbox.records.tests import TaskRecord

DEV = "dev"

LineSink = Callable[[str, str], None]
"""Receives a line of output: task name and text. Called from any thread."""
Execute = Callable[[tuple[str, ...]], int]
"""Runs a command in dev with the caller's stdio; returns its exit code."""


def run(
    project: Project,
    name: str,
    sink: Sink,
    *,
    line: LineSink,
    execute: Execute,
    arguments: tuple[str, ...] = (),
    force: bool = False,
) -> int:
    """Run a task after its needs; return the exit code of the first failure. dev is up.

    Needs run in parallel with line-wise output to `line`; the task itself has the caller's stdio. Up-to-date tasks with
    all outputs are skipped unless `force`, or if the task has arguments.
    """
    session = _TaskSession(project, prepare(project), line, force=force)
    task = tasks.find_task(name, session.resolved.tasks, env_file=project.env_file)
    if code := session.run_needs(name, sink):
        return code
    now = session.read_inputs(task)
    reason = session.find_reason(task, now) or ("it has arguments" if arguments else "")
    if not reason:
        sink(Note(text=f"task {name}: {_format_unchanged(now)}; run it with --force"))
        return 0
    if task.inputs:
        sink(Note(text=f"task {name}: {reason}"))
    code = execute(tasks.build_task_argv(task, arguments))
    if code == 0 and not arguments:
        session.record_success(task, now)
    return code


def run_captured(project: Project, name: str, sink: Sink, *, line: LineSink) -> str:
    """Run a task after its needs with output to `line`; return a short result. CommandFailed on a failure."""
    session = _TaskSession(project, prepare(project), line, force=False)
    task = tasks.find_task(name, session.resolved.tasks, env_file=project.env_file)
    if session.run_needs(name, sink):
        raise CommandFailed(
            f"cannot run {name}: a task it needs failed", remedy=f"reproduce it with: devbox run {name}"
        )
    return session.run(task)


class _TaskSession:
    """One run of tasks."""

    def __init__(self, project: Project, spec: Spec, line: LineSink, *, force: bool) -> None:
        self.resolved = spec
        self._project = project
        self._line = line
        self._force = force
        self._record = TaskRecord(project.paths, project.id)
        dev = project.engine.observe(spec.instance).containers.get(DEV)
        self._image = dev.image_key if dev else ""
        self._code = 0

    def run_needs(self, name: str, sink: Sink) -> int:
        """Run all needs of a task; return the exit code of the first failure, else 0. Ctrl-C ends all of them."""
        plan = tasks.plan_needs(name, self.resolved.tasks)
        if not plan:
            return 0
        try:
            runner.run(plan, {Op.TASK: lambda step: self.run(self.resolved.tasks[step.resource])}, sink)
        except CommandFailed:
            if not self._code:
                raise
        except KeyboardInterrupt:
            process.end_children()
            raise
        return self._code

    def run(self, task: Task) -> str:
        """Run a task unless it is up to date; return a short result."""
        now = self.read_inputs(task)
        if not self.find_reason(task, now):
            return _format_unchanged(now)
        last: list[str] = []

        def line(text: str) -> None:
            last.append(text)
            del last[:-8]
            self._line(task.name, text)

        code = self._project.engine.exec(self.resolved.instance, DEV, tasks.build_task_argv(task), env={}, on_line=line)
        if code != 0:
            self._code = self._code or code
            raise CommandFailed(
                f"the task {task.name} exited with code {code}",
                details="\n".join(last),
                remedy=f"reproduce it with: devbox run {task.name}",
            )
        self.record_success(task, now)
        return "done"

    def read_inputs(self, task: Task) -> TaskDone:
        """Return the task's current inputs."""
        found = files.digest_matching_files(self._project.root, task.inputs)
        return TaskDone(commands=ids.compute_key(codec.dump(task.commands)), image=self._image, files=found)

    def find_reason(self, task: Task, now: TaskDone) -> str:
        """Return why the task has to run; "" if it is up to date."""
        if self._force:
            return "--force"
        return tasks.explain_run(task, self._record.read_last(task.name), now, missing=self._list_missing_outputs(task))

    def record_success(self, task: Task, done: TaskDone) -> None:
        """Record the success of a task."""
        if task.inputs:
            self._record.record_success(task.name, done)

    def _list_missing_outputs(self, task: Task) -> tuple[str, ...]:
        """Return output patterns without a match."""
        root = self._project.root
        return tuple(pattern for pattern in task.outputs if not files.has_matching_path(root, pattern))


def _format_unchanged(now: TaskDone) -> str:
    count = len(now.files)
    return f"unchanged since its last success ({count} input{'' if count == 1 else 's'})"
