"""Implementation of `up --watch`: applies the `watch` rules on file changes. Errors do not end it.

Changes come in batches: one per save in an editor or checkout of a branch. Directories are watched one by one: a
recursive watch would follow links out of the project.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from devbox import flow
from devbox.commands import tasks
from devbox.engines import capabilities
from devbox.errors import DevboxError, UsageError
from devbox.execute import runner
from devbox.execute.events import Event, Note, Sink, StepLine
from devbox.host import revision, safe_files
from devbox.host.project import LOCAL_FILE
from devbox.model.plan import Op, Step
from devbox.model.spec import Watch
from devbox.plan import order, watching
from devbox.project import Project, build_instance, lock_instance, prepare

if TYPE_CHECKING:
    from watchfiles import Change

_QUIET_MS = 30  # a batch ends after this time without a change,
_LONGEST_MS = 1000  # or at this age
_AGAIN_MS = 300
_LATER_MS = 3_600_000

Facts = dict[str, tuple[int, int]]  # mtime and size of files by path


def list_watches(project: Project, names: tuple[str, ...] | None = None) -> tuple[Watch, ...]:
    """Return the watch rules of these containers (default: all); UsageError if there are none."""
    desired = prepare(project)
    chosen = order.select_containers(desired, names)
    found = tuple(watch for watch in desired.watches if watch.container in chosen)
    if not found:
        raise UsageError(
            f"missing watch rules in {project.env_file}{' for ' + ', '.join(names) if names else ''}",
            remedy='add [[dev.watch]] with paths = ["src/**"]',
        )
    return found


def watch(project: Project, sink: Sink, *, names: tuple[str, ...] | None = None) -> None:
    """React to file changes until Ctrl-C (KeyboardInterrupt). A changed env file is reloaded."""
    watches = list_watches(project, names)
    while True:
        places = watching.list_places(watches)
        sink(Note(text=f"watching {', '.join(place or 'the whole project' for place in places)}; stop with Ctrl-C"))
        for changed in watch_batches(project.root, (*places, project.env_file, LOCAL_FILE)):
            _react(project, sink, watches, changed)
            if {project.env_file, LOCAL_FILE} & changed:
                watches = _reload_watches(project, sink, names) or watches
                if watching.list_places(watches) != places:
                    break


def _reload_watches(project: Project, sink: Sink, names: tuple[str, ...] | None) -> tuple[Watch, ...]:
    """Return the current watch rules; () for an invalid file, for example during an edit."""
    try:
        found = list_watches(project, names)
    except DevboxError as error:
        sink(Note(text=f"{f'{error.where}: ' if error.where else ''}{error.sentence}; keeping the previous rules"))
        return ()
    sink(Note(text=f"{project.env_file} changed: apply it with devbox up"))
    return found


def _react(project: Project, sink: Sink, watches: tuple[Watch, ...], changed: frozenset[str]) -> None:
    seen = frozenset(path for path in changed if watching.plan_reactions(watches, [path]))
    reactions = watching.plan_reactions(watches, exclude_ignored(project.root, seen))
    if not reactions:
        return
    try:
        runner.run(reactions, _build_actions(project, sink), sink)
    except DevboxError as error:
        for line in (*error.details.strip().splitlines()[-8:], f"→ {error.remedy}" if error.remedy else ""):
            if line:
                sink(Note(text=line))


def _build_actions(project: Project, sink: Sink) -> dict[Op, Callable[[Step], str]]:
    """Return the action of each reaction."""

    def restart(step: Step) -> str:
        with lock_instance(project, _ignore_event):
            capabilities.rerun(
                project.engine, build_instance(project, ""), step.resource
            )  # regardless of the current file
        return "restarted"

    def signal(step: Step) -> str:
        name, _, container = step.resource.partition(" ")
        with lock_instance(project, _ignore_event):
            capabilities.send_signal(project.engine, build_instance(project, ""), container, name)
        return "signaled"

    def rebuild(step: Step) -> str:
        outcome = flow.up(project, _filter_notes(sink), names=(step.resource,))
        return "rebuilt" if outcome.plan else "image unchanged"

    def task(step: Step) -> str:
        return tasks.run_captured(
            project, step.resource, _ignore_event, line=lambda _, text: sink(StepLine(id=step.id, text=text))
        )

    return {Op.RESTART: restart, Op.SIGNAL: signal, Op.REBUILD: rebuild, Op.TASK: task}


def _ignore_event(_: Event) -> None:
    """Ignore an event: the reaction is shown as one step."""


def _filter_notes(sink: Sink) -> Sink:
    def pass_on(event: Event) -> None:
        if isinstance(event, Note):
            sink(event)

    return pass_on


def watch_batches(root: str, places: Iterable[str]) -> Iterator[frozenset[str]]:
    """Yield batches of changed paths, relative to `root`, endlessly. KeyboardInterrupt on Ctrl-C.

    `places`: files and directories to watch; a missing one is replaced by its nearest parent. Ignores git's files,
    temporary files of editors and compilers, dependency directories and link targets.
    """
    from watchfiles import Change, DefaultFilter

    sees = DefaultFilter()
    skip, places = frozenset(sees.ignore_dirs), tuple(places)
    seen: Facts | None = None
    while True:
        starts = _find_starts(root, places)
        watched = _list_watched(root, starts, skip)
        again = seen is not None  # rescan for changes made before the new watch began
        seen = _stat_files(root, starts, skip) if seen is None else seen
        for batch in _watch_paths(root, watched, sees, timeout=_AGAIN_MS if again else _LATER_MS):
            changed = {os.path.relpath(path, root) for _, path in batch}
            ended = {os.path.relpath(path, root) for change, path in batch if change != Change.modified}
            moved = not watched.isdisjoint(ended) or _find_starts(root, places) != starts
            new = _list_watched(root, starts if again else changed, skip, files=False) - watched
            rescan = moved or again or bool(new)
            now = _stat_files(root, starts, skip) if rescan else {**seen, **_stat_files(root, changed, skip)}
            found = {path for path in now.keys() | seen.keys() if now.get(path) != seen.get(path)}
            changed |= {path for path in found if sees(Change.modified, f"{root}/{path}")}
            seen, again = now, False
            if changed:
                yield frozenset(changed)
            if moved or new:
                break


def _watch_paths(
    root: str, paths: Iterable[str], sees: Callable[[Change, str], bool], *, timeout: int
) -> Iterator[set[tuple[Change, str]]]:
    """Yield the changes of files and of directories' entries; empty after `timeout` (ms).

    Ends, for another scan, if a path has been removed, or at an event of a name that is not UTF-8, which watchfiles
    refuses. Scans are events of directories: with such a directory, the paths are in effect polled.
    """
    from watchfiles import watch

    try:
        yield from watch(
            *(os.path.normpath(os.path.join(root, path)) for path in paths),
            watch_filter=sees,
            debounce=_LONGEST_MS,
            step=_QUIET_MS,
            rust_timeout=timeout,
            yield_on_timeout=True,
            raise_interrupt=True,
            recursive=False,
        )
    except FileNotFoundError:
        return
    except RuntimeError as error:  # watchfiles has no public subclass
        if "decode" not in str(error):
            raise


def _find_starts(root: str, places: Iterable[str]) -> frozenset[str]:
    return frozenset(_find_nearest(root, place) for place in places)


def exclude_ignored(root: str, paths: Iterable[str]) -> frozenset[str]:
    """Return the paths that git does not ignore; all without a repository."""
    found = frozenset(paths)
    return found - revision.find_ignored(root, found) if found else found


def _list_watched(root: str, paths: Iterable[str], skip: frozenset[str], *, files: bool = True) -> frozenset[str]:
    """Return the directories among and below the paths; with `files`, also paths that are files.

    Names that are not UTF-8 are left out: watchfiles cannot watch them.
    """
    found: set[str] = set()
    for start in paths:
        if skip.isdisjoint(start.split("/")):
            for path, facts in safe_files.walk(root, start, directories=True, skip=skip):
                if stat.S_ISDIR(facts.st_mode) or (files and path == start and stat.S_ISREG(facts.st_mode)):
                    found.add(path)
    return frozenset(path for path in found if os.fsencode(path) == path.encode(errors="replace"))


def _stat_files(root: str, directories: Iterable[str], skip: frozenset[str]) -> Facts:
    return {
        path: (facts.st_mtime_ns, facts.st_size)
        for start in directories
        for path, facts in safe_files.walk(root, start, skip=skip)
    }


def _find_nearest(root: str, place: str) -> str:
    """Return the path or its nearest existing parent."""
    path = os.path.normpath(place) if place else ""
    with safe_files.ProjectDirectory(root) as project:
        while path:
            try:
                project.stat(path, links=False)
            except OSError:
                path = os.path.dirname(path)
            else:
                break
    return path
