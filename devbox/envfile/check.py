"""Checks beyond the schema: whether the tables of the file fit together. Pure; every check yields problems."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from posixpath import normpath
from typing import Any

from devbox.envfile import names
from devbox.envfile.document import Document
from devbox.envfile.problems import Problem, format_key
from devbox.envfile.stage_tables import (
    AnyGate,
    ApprovalGateTable,
    FreezeGateTable,
    ProvenanceGateTable,
    SignatureGateTable,
    SoakGateTable,
    StageTable,
)
from devbox.model import windows
from devbox.model.container import Port
from devbox.roles.containers import select_exports
from devbox.roles.context import Key, split_label
from devbox.roles.fields import Model, check_name, did_you_mean
from devbox.roles.glue import GlueTable
from devbox.roles.parts import LongRunningParts, RunParts, SourceTable
from devbox.roles.recipes import Recipe
from devbox.roles.service import ServiceTable


def check_stages(document: Document) -> Iterator[Problem]:
    """Check every stage, and the routes of glue."""
    for name in document.stage:
        if name not in document.stages:
            yield _report_missing(("stage", name), f"[stage.{name}] is in no order of stages", name, document.stages)
    for name, stage in document.stage.items():
        yield from _check_stage(name, stage, document)
    known = names.list_needable(document)
    for name, glue in document.glue.items():
        for route in glue.routes:
            if route.container not in known:
                key = ("glue", name, "routes", route.place)
                sentence = f"the route {route.place} leads to {route.container}, which does not exist"
                yield _report_missing(key, sentence, route.container, known)


def _check_stage(name: str, stage: StageTable, document: Document) -> Iterator[Problem]:
    key: Key = ("stage", name)
    if stage.into is not None and (stage.into not in document.stages or stage.into == name):
        yield _report_missing((*key, "into"), f"there is no other stage {stage.into}", stage.into, document.stages)
    yield from _check_processes(key, stage, document)
    wanted = document.image.needs if document.image else {}
    for need in stage.external:
        if need not in wanted:
            yield _report_missing((*key, "external", need), f"[image] does not need {need}", need, wanted)
    for number, gate in enumerate(stage.gates):
        yield from _check_gate((*key, "gates", number), gate, document)


def _check_processes(key: Key, stage: StageTable, document: Document) -> Iterator[Problem]:
    known = document.image.process if document.image else {}
    named = [((*key, "replicas", process), process) for process in stage.replicas]
    if stage.strategy.process is not None:
        named.append(((*key, "strategy", "process"), stage.strategy.process))
    for place, process in named:
        if process not in known:
            yield _report_missing(place, f"[image] has no process {process}", process, known)


def _check_gate(key: Key, gate: AnyGate, document: Document) -> Iterator[Problem]:
    if isinstance(gate, SoakGateTable) and gate.stage not in document.stages:
        yield _report_missing((*key, "stage"), f"there is no stage {gate.stage}", gate.stage, document.stages)
    if isinstance(gate, FreezeGateTable):
        yield from _check_freeze(key, gate)
    for person in gate.from_ if isinstance(gate, ApprovalGateTable) else ():
        if person not in document.approvers:
            yield _report_missing((*key, "from"), f"[approvers] has no {person}", person, document.approvers)
    for name in gate.keys if isinstance(gate, SignatureGateTable) else ():
        if name not in (known := {**document.builders, **document.approvers}):
            yield _report_missing((*key, "keys"), f"neither [builders] nor [approvers] has {name}", name, known)
    for name in gate.builders if isinstance(gate, ProvenanceGateTable) else ():
        if name not in document.builders:
            yield _report_missing((*key, "builders"), f"[builders] has no {name}", name, document.builders)


def _check_freeze(key: Key, gate: FreezeGateTable) -> Iterator[Problem]:
    try:
        windows.load_zone(gate.zone)
    except ValueError as error:
        yield Problem(key=(*key, "zone"), sentence=str(error))
    for number, text in enumerate(gate.windows):
        try:
            windows.parse(text)
        except ValueError as error:
            yield Problem(key=(*key, "windows", number), sentence=str(error))


def _report_missing(key: Key, sentence: str, word: str, known: Iterable[str]) -> Problem:
    return Problem(key=key, sentence=f"{sentence}{did_you_mean(word, known)}")


NAMED_TABLES = ("base", "tool", "install", "service", "glue", "stage", "tasks")


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
    known = names.list_sources(document)
    graph: dict[str, list[str]] = {}
    for name, table in document.list_tables().items():
        if not isinstance(table, SourceTable) or table.from_ is None:
            continue
        key = (*split_label(name), "from")
        if table.from_ not in known:
            hint = did_you_mean(table.from_, known) or f" (the file has {_format_names(known)})"
            yield Problem(key=key, sentence=f"[{name}] is made from {table.from_}, which the file does not have{hint}")
        else:
            graph[name] = [known[table.from_]]
    yield from _find_cycles(graph, "from", "is made from")


def _check_needs(document: Document) -> Iterator[Problem]:
    known = names.list_needable(document)
    everything = names.name_containers(document)
    graph: dict[str, list[str]] = {}
    for name, table in document.list_tables().items():
        routed = table.reaches if isinstance(table, GlueTable) else ()
        graph[name] = [known[need] for need in dict.fromkeys((*getattr(table, "needs", {}), *routed)) if need in known]
        for need in getattr(table, "needs", {}):
            key = (*split_label(name), "needs")
            if need in known:
                yield from _check_unlasting(document, key, name, known[need])
                continue
            if need in everything or need in everything.values():
                yield Problem(key=key, sentence=f"[{name}] needs {need}, but only services, glue and dev keep running")
            else:
                hint = did_you_mean(need, known) or f" (the file has {_format_names(known)})"
                yield Problem(key=key, sentence=f"[{name}] needs {need}, which the file does not have{hint}")
    yield from _find_cycles(graph, "needs", "needs")


def _check_unlasting(document: Document, key: Key, name: str, need: str) -> Iterator[Problem]:
    """Report a need of a container that only runs on a schedule."""
    table = document.list_tables()[need]
    if isinstance(table, GlueTable) and table.schedule:
        yield Problem(key=key, sentence=f"[{name}] needs {need}, which runs at its times only: {table.schedule}")


def _find_cycles(graph: Mapping[str, list[str]], key: str, verb: str) -> Iterator[Problem]:
    """Yield one problem per cycle, at its first member in the file."""
    done: set[str] = set()
    for start in graph:
        path: list[str] = []
        cycle = _find_cycle(start, graph, path, done)
        if cycle:
            yield Problem(
                key=(*split_label(cycle[0]), key), sentence=f"a cycle: {f' {verb} '.join([*cycle, cycle[0]])}"
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
    known = names.list_needable(document)
    tables = document.list_tables()
    for name, table in tables.items():
        brought: dict[str, str] = {}
        for need, renames in getattr(table, "needs", {}).items():
            exports = _list_export_names(tables.get(known.get(need, "")), recipes)
            key = (*split_label(name), "needs")
            for old in renames:
                if old not in exports:
                    hint = did_you_mean(old, exports) or f" (it exports {_format_names(exports)})"
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


def _list_export_names(table: Model | None, recipes: Mapping[str, Recipe]) -> list[str]:
    if not isinstance(table, ServiceTable):
        return []
    recipe = recipes.get(table.recipe or "")
    return [*((recipe.service or {}).get("exports", {}) if recipe else {}), *table.exports]


def _check_mount_points(document: Document) -> Iterator[Problem]:
    for name, table in document.list_tables().items():
        if not isinstance(table, RunParts):
            continue
        seen: set[str] = {document.dev.workspace} if document.dev and name == "dev" else set()
        for target in (*table.volumes.values(), *(item.target for item in table.mounts), *table.tmpfs):
            if target in seen:
                yield Problem(key=(*split_label(name), "volumes"), sentence=f"[{name}] mounts two things at {target}")
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
    """Report probes that cannot work."""
    for name, table in document.list_tables().items():
        if not isinstance(table, LongRunningParts) or table.health is None:
            continue
        key = (*split_label(name), "health")
        if table.health.http and table.health.port is None and not table.ports:
            yield Problem(key=key, sentence=f"{format_key(key)}: http needs a port, and [{name}] has no ports")
        if isinstance(table, ServiceTable) and table.kind == "job":
            yield Problem(key=key, sentence=f"[{name}] is a job, which ends instead of becoming healthy")


def _check_copies(document: Document) -> Iterator[Problem]:
    """Report copies into the release image that are not part of the build output."""
    if document.image is None or not document.image.copy_:
        return
    key = ("image", "copy")
    if document.build is None:
        yield Problem(key=key, sentence="[image] copies what [build] puts out, but the file has no [build]")
        return
    output = [normpath(path) for path in document.build.output]
    for source in document.image.copy_:
        if not any(source == path or source.startswith(f"{path}/") or set(path) & set("*?[") for path in output):
            sentence = f"[image] copies {source}, which is no part of the output of [build] ({_format_names(output)})"
            yield Problem(key=(*key, source), sentence=sentence)


def _check_matrix(document: Document) -> Iterator[Problem]:
    """Report axes without a variable of that name: all cells would be equal."""
    table = document.test.matrix if document.test else None
    if table is None:
        return
    wanted: list[tuple[Key, str]] = [((name,), name) for name in table.axes]
    wanted += [(("include", number, name), name) for number, cell in enumerate(table.include) for name in cell]
    for key, name in wanted:
        if name not in document.vars:
            hint = did_you_mean(name, document.vars)
            sentence = f"{format_key(('test', 'matrix', *key))}: no variable is called {name}{hint}"
            remedy = f"write ${{{name}}} where cells are to differ; what it is elsewhere, [vars] says: {name} = …"
            yield Problem(key=("test", "matrix", *key), sentence=sentence, remedy=remedy)


def _check_tasks(document: Document) -> Iterator[Problem]:
    graph = {}
    for name, task in document.tasks.items():
        graph[f"tasks.{name}"] = [f"tasks.{need}" for need in task.needs]
        for need in task.needs:
            if need not in document.tasks:
                hint = did_you_mean(need, document.tasks)
                yield Problem(
                    key=("tasks", name), sentence=f"the task {name} needs the task {need}, which does not exist{hint}"
                )
    yield from (
        Problem(key=problem.key[:2], sentence=problem.sentence.replace("tasks.", ""))
        for problem in _find_cycles(graph, "needs", "needs")
    )


def _check_watches(document: Document) -> Iterator[Problem]:
    for name, table in document.list_tables().items():
        for number, watch in enumerate(table.watch if isinstance(table, LongRunningParts) else ()):
            kind, _, task = watch.do.partition(":")
            if kind == "task" and task not in document.tasks:
                hint = did_you_mean(task, document.tasks)
                yield Problem(
                    key=(*split_label(name), "watch", number, "do"), sentence=f"there is no task {task}{hint}"
                )


def _format_names(found: Iterable[str]) -> str:
    short = [name for name in found if "." not in name]
    return ", ".join(short) or "none"
