"""Implementation of `up --watch`: applies the `watch` rules on file changes. Errors do not end it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from devbox import flow
from devbox.commands import tasks
from devbox.engines import capabilities
from devbox.errors import DevboxError, UsageError
from devbox.execute import runner, watcher
from devbox.execute.events import Event, Note, Sink, StepLine
from devbox.host.project import LOCAL_FILE
from devbox.model.plan import Op, Step
from devbox.model.spec import Watch
from devbox.plan import order, watching
from devbox.project import Project, build_instance, lock_instance, prepare


def list_watches(opened: Project, names: tuple[str, ...] | None = None) -> tuple[Watch, ...]:
    """Return the watch rules of these containers (default: all); UsageError if there are none."""
    resolved = prepare(opened)
    chosen = order.select_containers(resolved, names)
    found = tuple(watch for watch in resolved.watches if watch.container in chosen)
    if not found:
        raise UsageError(
            f"missing watch rules in {opened.env_file}{' for ' + ', '.join(names) if names else ''}",
            remedy='add [[dev.watch]] with paths = ["src/**"]',
        )
    return found


def watch(opened: Project, sink: Sink, *, names: tuple[str, ...] | None = None) -> None:
    """React to file changes until Ctrl-C (KeyboardInterrupt). A changed env file is reloaded."""
    watches = list_watches(opened, names)
    while True:
        places = watching.list_places(watches)
        sink(Note(text=f"watching {', '.join(place or 'the whole project' for place in places)}; stop with Ctrl-C"))
        for changed in _await_changes(opened, places):
            _react(opened, sink, watches, changed)
            if {opened.env_file, LOCAL_FILE} & changed:
                watches = _reload_watches(opened, sink, names) or watches
                if watching.list_places(watches) != places:
                    break


def _await_changes(opened: Project, places: tuple[str, ...]) -> Iterator[frozenset[str]]:
    return watcher.watch_batches(opened.root, (*places, opened.env_file, LOCAL_FILE))


def _reload_watches(opened: Project, sink: Sink, names: tuple[str, ...] | None) -> tuple[Watch, ...]:
    """Return the current watch rules; () for an invalid file, for example during an edit."""
    try:
        found = list_watches(opened, names)
    except DevboxError as error:
        sink(Note(text=f"{f'{error.where}: ' if error.where else ''}{error.sentence}; keeping the previous rules"))
        return ()
    sink(Note(text=f"{opened.env_file} changed: apply it with devbox up"))
    return found


def _react(opened: Project, sink: Sink, watches: tuple[Watch, ...], changed: frozenset[str]) -> None:
    seen = frozenset(path for path in changed if watching.plan_reactions(watches, [path]))
    made = watching.plan_reactions(watches, watcher.exclude_ignored(opened.root, seen))
    if not made:
        return
    try:
        runner.run(made, _build_actions(opened, sink), sink)
    except DevboxError as error:
        for line in (*error.details.strip().splitlines()[-8:], f"→ {error.remedy}" if error.remedy else ""):
            if line:
                sink(Note(text=line))


def _build_actions(opened: Project, sink: Sink) -> dict[Op, Callable[[Step], str]]:
    """Return the action of each reaction."""

    def restart(step: Step) -> str:
        with lock_instance(opened, _ignore_event):
            capabilities.rerun(
                opened.engine, build_instance(opened, ""), step.resource
            )  # regardless of the current file
        return "restarted"

    def signal(step: Step) -> str:
        name, _, container = step.resource.partition(" ")
        with lock_instance(opened, _ignore_event):
            capabilities.send_signal(opened.engine, build_instance(opened, ""), container, name)
        return "signaled"

    def rebuild(step: Step) -> str:
        outcome = flow.up(opened, _filter_notes(sink), names=(step.resource,))
        return "rebuilt" if outcome.plan else "image unchanged"

    def task(step: Step) -> str:
        return tasks.run_captured(
            opened, step.resource, _ignore_event, line=lambda _, text: sink(StepLine(id=step.id, text=text))
        )

    return {Op.RESTART: restart, Op.SIGNAL: signal, Op.REBUILD: rebuild, Op.TASK: task}


def _ignore_event(_: Event) -> None:
    """Ignore an event: the reaction is shown as one step."""


def _filter_notes(sink: Sink) -> Sink:
    def pass_on(event: Event) -> None:
        if isinstance(event, Note):
            sink(event)

    return pass_on
