"""Checks beyond the schema: whether the tables of the file fit together. Pure; every check yields problems."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from posixpath import normpath
from typing import Any

from devbox.envfile.document import Document
from devbox.envfile.gate_tables import GateNames
from devbox.envfile.problems import format_key, report_missing
from devbox.envfile.stage_tables import StageTable
from devbox.model.container import Port
from devbox.roles import build, glue, release, tasks, test
from devbox.roles.catalog import TABLE_KINDS, find_role
from devbox.roles.containers import select_exports
from devbox.roles.fields import check_name, did_you_mean
from devbox.roles.parts import LongRunningParts, RunParts, get_parent, list_reached
from devbox.roles.recipes import Recipe
from devbox.roles.role import Key, Problem, split_label


def check_stages(document: Document) -> Iterator[Problem]:
    """Check every stage, and the routes of glue."""
    for name in document.stage:
        if name not in document.stages:
            yield report_missing(("stage", name), f"stage {name} is not in the order of stages", name, document.stages)
    for name, stage in document.stage.items():
        yield from _check_stage(name, stage, document)
    known = document.list_needable()
    for label, table in document.select(glue.ROLE).items():
        for route in table.routes:
            if route.container not in known:
                key = (*split_label(label), "routes", route.place)
                sentence = f"invalid route {route.place}: container {route.container} not found"
                yield report_missing(key, sentence, route.container, known)


def _check_stage(name: str, stage: StageTable, document: Document) -> Iterator[Problem]:
    key: Key = ("stage", name)
    others = [each for each in document.stages if each != name]
    if stage.into is not None and stage.into not in others:
        sentence = f"invalid value for [stage.{name}] into: expected another stage, got {stage.into}"
        yield report_missing((*key, "into"), sentence, stage.into, others)
    yield from _check_processes(key, stage, document)
    image = document.find(release.ROLE)
    needs = image.needs if image else {}
    for need in stage.external:
        if need not in needs:
            yield report_missing((*key, "external", need), f"[image] does not need {need}", need, needs)
    known = GateNames(stages=document.stages, approvers=document.approvers, builders=document.builders)
    for number, gate in enumerate(stage.gates):
        yield from gate.check((*key, "gates", number), known)


def _check_processes(key: Key, stage: StageTable, document: Document) -> Iterator[Problem]:
    image = document.find(release.ROLE)
    known = image.process if image else {}
    named = [((*key, "replicas", process), process) for process in stage.replicas]
    if stage.strategy.process is not None:
        named.append(((*key, "strategy", "process"), stage.strategy.process))
    for place, process in named:
        if process not in known:
            yield report_missing(place, f"process {process} not found in [image]", process, known)


NAMED_TABLES = (*(kind.name for kind in TABLE_KINDS if kind.named), "stage")


def check_table_names(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Check table names for use as host and directory names. Operates on raw data, before the schema."""
    for table in NAMED_TABLES:
        for name in data[table] if isinstance(data.get(table), dict) else ():
            try:
                check_name(name)
            except ValueError as error:
                yield Problem(key=(table, name), sentence=str(error))


def check(document: Document, recipes: Mapping[str, Recipe]) -> list[Problem]:
    """Return all inconsistencies."""
    return [
        *_check_sources(document),
        *_check_needs(document),
        *_check_exports(document, recipes),
        *_check_mount_points(document),
        *_check_ports(document),
        *_check_probes(document),
        *_check_tasks(document),
        *_check_watches(document),
        *_check_copies(document),
        *_check_matrix(document),
        *check_stages(document),
    ]


def _check_sources(document: Document) -> Iterator[Problem]:
    known = document.list_sources()
    graph: dict[str, list[str]] = {}
    for name, table in document.list_tables().items():
        parent = get_parent(table)
        if parent is None:
            continue
        key = (*split_label(name), "from")
        if parent not in known:
            hint = did_you_mean(parent, known) or f" (known: {_format_names(known)})"
            yield Problem(key=key, sentence=f"[{name}] from: {parent} not found{hint}")
        else:
            graph[name] = [known[parent]]
    yield from _find_cycles(graph, "from", "is made from")


def _check_needs(document: Document) -> Iterator[Problem]:
    known = document.list_needable()
    everything = document.name_containers()
    graph: dict[str, list[str]] = {}
    for name, table in document.list_tables().items():
        reached = dict.fromkeys((*getattr(table, "needs", {}), *list_reached(table)))
        graph[name] = [known[need] for need in reached if need in known]
        for need in getattr(table, "needs", {}):
            key = (*split_label(name), "needs")
            if need in known:
                if why := find_role(known[need]).explain_not_needed(document.list_tables()[known[need]]):
                    yield Problem(key=key, sentence=f"[{name}] needs {known[need]}, which {why}")
                continue
            if need in everything or need in everything.values():
                yield Problem(key=key, sentence=f"[{name}] cannot need {need}, whose container does not keep running")
            else:
                hint = did_you_mean(need, known) or f" (known: {_format_names(known)})"
                yield Problem(key=key, sentence=f"[{name}] needs: {need} not found{hint}")
    yield from _find_cycles(graph, "needs", "needs")


def _find_cycles(graph: Mapping[str, list[str]], key: str, verb: str) -> Iterator[Problem]:
    """Yield one problem per cycle, at its first member in the file."""
    done: set[str] = set()
    for start in graph:
        path: list[str] = []
        cycle = _find_cycle(start, graph, path, done)
        if cycle:
            yield Problem(
                key=(*split_label(cycle[0]), key), sentence=f"dependency cycle: {f' {verb} '.join([*cycle, cycle[0]])}"
            )


def _find_cycle(node: str, graph: Mapping[str, list[str]], path: list[str], done: set[str]) -> list[str]:
    if node in path:
        return path[path.index(node) :]
    if node in done:
        return []
    path.append(node)
    for following in graph.get(node, ()):
        if cycle := _find_cycle(following, graph, path, done):
            done.update(path)
            return cycle
    done.add(path.pop())
    return []


def _check_exports(document: Document, recipes: Mapping[str, Recipe]) -> Iterator[Problem]:
    """Report renames of unknown exports, and needs that export the same variable."""
    known = document.list_needable()
    tables = document.list_tables()
    for name, table in tables.items():
        brought: dict[str, str] = {}
        for need, renames in getattr(table, "needs", {}).items():
            label = known.get(need)
            exports = find_role(label).list_export_names(tables[label], recipes) if label else ()
            key = (*split_label(name), "needs")
            for old in renames:
                if old not in exports:
                    hint = did_you_mean(old, exports) or f" (known: {_format_names(exports)})"
                    yield Problem(key=(*key, need, old), sentence=f"{need} does not export {old}{hint}")
            for variable in select_exports(dict.fromkeys(exports, ""), renames):
                if variable in brought:
                    yield _report_collision(name, key, variable, brought[variable], need)
                    break
                brought[variable] = need


def _report_collision(name: str, key: Key, variable: str, first: str, second: str) -> Problem:
    renamed = f'{{ {variable} = "{first.upper().replace("-", "_").replace(".", "_")}_{variable}" }}'
    return Problem(
        key=key,
        sentence=f"[{name}] gets {variable} from both {first} and {second}",
        remedy=f"rename one: needs = {{ {first} = {renamed}, {second} = {{}} }}",
    )


def _check_mount_points(document: Document) -> Iterator[Problem]:
    for name, table in document.list_tables().items():
        seen: set[str] = set()
        for target in find_role(name).list_mount_points(table):
            if target in seen:
                yield Problem(
                    key=(*split_label(name), "volumes"), sentence=f"duplicate mount point {target} in [{name}]"
                )
            seen.add(target)


def _check_ports(document: Document) -> Iterator[Problem]:
    """Report duplicate host ports, and ports without a network."""
    taken_by: dict[tuple[str, int | None, str], str] = {}
    for name, table in document.list_tables().items():
        ports: Iterable[Port] = table.ports if isinstance(table, LongRunningParts) else ()
        if ports and isinstance(table, RunParts) and table.isolation.to_isolation().network == "none":
            yield Problem(key=(*split_label(name), "ports"), sentence=f"[{name}] has ports but no network")
        for port in (port for port in ports if port.host is not None):
            place = (port.address, port.host, port.protocol)
            if place in taken_by:
                yield Problem(
                    key=(*split_label(name), "ports"),
                    sentence=f"[{name}] and [{taken_by[place]}] both publish {port.address}:{port.host}",
                )
            taken_by.setdefault(place, name)


def _check_probes(document: Document) -> Iterator[Problem]:
    """Report probes that cannot work, and the problems of single tables."""
    for name, table in document.list_tables().items():
        probe = table.health if isinstance(table, LongRunningParts) and not table.ports else None
        if probe is not None and probe.http and probe.port is None:
            key = (*split_label(name), "health")
            yield Problem(key=key, sentence=f"missing port in {format_key(key)}: [{name}] has no ports")
        yield from find_role(name).check(table, name)


def _check_copies(document: Document) -> Iterator[Problem]:
    """Report copies into the release image that are not part of the build output."""
    image, build_table = document.find(release.ROLE), document.find(build.ROLE)
    if image is None or not image.copy_:
        return
    key = ("image", "copy")
    if build_table is None:
        yield Problem(key=key, sentence="missing [build], whose output [image] copies")
        return
    output = [normpath(path) for path in build_table.output]
    for source in image.copy_:
        if not any(source == path or source.startswith(f"{path}/") or set(path) & set("*?[") for path in output):
            sentence = f"[image] copies {source}, which is not in the output of [build] ({_format_names(output)})"
            yield Problem(key=(*key, source), sentence=sentence)


def _check_matrix(document: Document) -> Iterator[Problem]:
    """Report axes without a variable of that name: all cells would be equal."""
    tests = document.find(test.ROLE)
    table = tests.matrix if tests else None
    if table is None:
        return
    references: list[tuple[Key, str]] = [((name,), name) for name in table.axes]
    references += [(("include", number, name), name) for number, cell in enumerate(table.include) for name in cell]
    for key, name in references:
        if name not in document.vars:
            hint = did_you_mean(name, document.vars)
            sentence = f"{format_key(('test', 'matrix', *key))}: variable {name} not found{hint}"
            remedy = f"write ${{{name}}} where cells differ, and its default in [vars]: {name} = …"
            yield Problem(key=("test", "matrix", *key), sentence=sentence, remedy=remedy)


def _check_tasks(document: Document) -> Iterator[Problem]:
    graph = {}
    known = _list_tasks(document)
    for label, task in document.select(tasks.KIND).items():
        graph[label] = [f"tasks.{need}" for need in task.needs]
        for need in task.needs:
            if need not in known:
                key, hint = split_label(label), did_you_mean(need, known)
                sentence = f"task {need} not found, needed by task {key[1]}{hint}"
                yield Problem(key=key, sentence=sentence)
    yield from (
        Problem(key=problem.key[:2], sentence=problem.sentence.replace("tasks.", ""))
        for problem in _find_cycles(graph, "needs", "needs")
    )


def _list_tasks(document: Document) -> list[str]:
    return [label.partition(".")[2] for label in document.select(tasks.KIND)]


def _check_watches(document: Document) -> Iterator[Problem]:
    known = _list_tasks(document)
    for name, table in document.list_tables().items():
        for number, watch in enumerate(table.watch if isinstance(table, LongRunningParts) else ()):
            kind, _, task = watch.do.partition(":")
            if kind == "task" and task not in known:
                hint = did_you_mean(task, known)
                yield Problem(key=(*split_label(name), "watch", number, "do"), sentence=f"task {task} not found{hint}")


def _format_names(found: Iterable[str]) -> str:
    short = [name for name in found if "." not in name]
    return ", ".join(short) or "none"
