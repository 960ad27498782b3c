"""What a schema can't see: whether the tables of the file fit together. Pure; every check gives problems."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from posixpath import normpath
from typing import Any

from devbox.envfile import names, stagecheck
from devbox.envfile.document import Document
from devbox.envfile.problems import Problem, label
from devbox.model.container import Port
from devbox.roles.containers import taken
from devbox.roles.context import Key, key_of
from devbox.roles.fields import Model, check_name
from devbox.roles.glue import GlueTable
from devbox.roles.parts import LongRunningParts, RunParts, Source
from devbox.roles.recipes import Recipe
from devbox.roles.service import ServiceTable
from devbox.roles.suggest import did_you_mean

NAMED_TABLES = ("base", "tool", "install", "service", "glue", "stage", "tasks")


def table_names(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Names of tables that could be no host name or directory. Looks at raw data: it comes before the schema."""
    for table in NAMED_TABLES:
        for name in data[table] if isinstance(data.get(table), dict) else ():
            try:
                check_name(name)
            except ValueError as error:
                yield Problem(key=(table, name), sentence=str(error))


def check(document: Document, recipes: Mapping[str, Recipe]) -> list[Problem]:
    """Everything that does not fit together."""
    return [
        *_sources(document),
        *_needs(document),
        *_exports(document, recipes),
        *_mount_points(document),
        *_ports(document),
        *_probes(document),
        *_tasks(document),
        *_watches(document),
        *_copies(document),
        *_matrix(document),
        *stagecheck.check(document),
    ]


def _sources(document: Document) -> Iterator[Problem]:
    known = names.sources(document)
    graph: dict[str, list[str]] = {}
    for name, table in document.tables().items():
        if not isinstance(table, Source) or table.from_ is None:
            continue
        key = (*key_of(name), "from")
        if table.from_ not in known:
            hint = did_you_mean(table.from_, known) or f" (the file has {_listed(known)})"
            yield Problem(key=key, sentence=f"[{name}] is made from {table.from_}, which the file does not have{hint}")
        else:
            graph[name] = [known[table.from_]]
    yield from _cycles(graph, "from", "is made from")


def _needs(document: Document) -> Iterator[Problem]:
    known = names.needable(document)
    everything = names.container_names(document)
    graph: dict[str, list[str]] = {}
    for name, table in document.tables().items():
        routed = table.reaches if isinstance(table, GlueTable) else ()
        graph[name] = [known[need] for need in dict.fromkeys((*getattr(table, "needs", {}), *routed)) if need in known]
        for need in getattr(table, "needs", {}):
            key = (*key_of(name), "needs")
            if need in known:
                yield from _unlasting(document, key, name, known[need])
                continue
            if need in everything or need in everything.values():
                yield Problem(key=key, sentence=f"[{name}] needs {need}, but only services, glue and dev keep running")
            else:
                hint = did_you_mean(need, known) or f" (the file has {_listed(known)})"
                yield Problem(key=key, sentence=f"[{name}] needs {need}, which the file does not have{hint}")
    yield from _cycles(graph, "needs", "needs")


def _unlasting(document: Document, key: Key, name: str, need: str) -> Iterator[Problem]:
    """What runs at its times alone is nothing to rely on."""
    table = document.tables()[need]
    if isinstance(table, GlueTable) and table.schedule:
        yield Problem(key=key, sentence=f"[{name}] needs {need}, which runs at its times only: {table.schedule}")


def _cycles(graph: Mapping[str, list[str]], key: str, verb: str) -> Iterator[Problem]:
    """One problem per cycle, at its first member in the file."""
    done: set[str] = set()
    for start in graph:
        path: list[str] = []
        cycle = _cycle_from(start, graph, path, done)
        if cycle:
            yield Problem(key=(*key_of(cycle[0]), key), sentence=f"a cycle: {f' {verb} '.join([*cycle, cycle[0]])}")


def _cycle_from(node: str, graph: Mapping[str, list[str]], path: list[str], done: set[str]) -> list[str]:
    if node in path:
        return path[path.index(node) :]
    if node in done:
        return []
    path.append(node)
    for following in graph.get(node, ()):
        if cycle := _cycle_from(following, graph, path, done):
            done.update(path)
            return cycle
    done.add(path.pop())
    return []


def _exports(document: Document, recipes: Mapping[str, Recipe]) -> Iterator[Problem]:
    """Renames of what is not exported, and two needs that bring one variable."""
    known = names.needable(document)
    tables = document.tables()
    for name, table in tables.items():
        brought: dict[str, str] = {}
        for need, renames in getattr(table, "needs", {}).items():
            exports = _export_names(tables.get(known.get(need, "")), recipes)
            key = (*key_of(name), "needs")
            for old in renames:
                if old not in exports:
                    hint = did_you_mean(old, exports) or f" (it exports {_listed(exports)})"
                    yield Problem(key=(*key, need, old), sentence=f"{need} does not export {old}{hint}")
            for variable in taken(dict.fromkeys(exports, ""), renames):
                if variable in brought:
                    yield _collision(name, key, variable, brought[variable], need)
                    break
                brought[variable] = need


def _collision(name: str, key: Key, variable: str, first: str, second: str) -> Problem:
    renamed = f'{{ {variable} = "{first.upper().replace("-", "_").replace(".", "_")}_{variable}" }}'
    return Problem(
        key=key,
        sentence=f"[{name}] gets {variable} from both {first} and {second}",
        remedy=f"rename one: needs = {{ {first} = {renamed}, {second} = {{}} }}",
    )


def _export_names(table: Model | None, recipes: Mapping[str, Recipe]) -> list[str]:
    if not isinstance(table, ServiceTable):
        return []
    recipe = recipes.get(table.recipe or "")
    return [*((recipe.service or {}).get("exports", {}) if recipe else {}), *table.exports]


def _mount_points(document: Document) -> Iterator[Problem]:
    for name, table in document.tables().items():
        if not isinstance(table, RunParts):
            continue
        seen: set[str] = {document.dev.workspace} if document.dev and name == "dev" else set()
        for target in (*table.volumes.values(), *(item.target for item in table.mounts), *table.tmpfs):
            if target in seen:
                yield Problem(key=(*key_of(name), "volumes"), sentence=f"[{name}] mounts two things at {target}")
            seen.add(target)


def _ports(document: Document) -> Iterator[Problem]:
    """Two containers on one fixed host port, and ports without a network."""
    taken_by: dict[tuple[str, int | None, str], str] = {}
    for name, table in document.tables().items():
        ports: Iterable[Port] = table.ports if isinstance(table, LongRunningParts) else ()
        if ports and isinstance(table, RunParts) and table.isolation.isolation().network == "none":
            yield Problem(key=(*key_of(name), "ports"), sentence=f"[{name}] has ports but no network")
        for port in (port for port in ports if port.host is not None):
            place = (port.address, port.host, port.protocol)
            if place in taken_by:
                yield Problem(
                    key=(*key_of(name), "ports"),
                    sentence=f"[{name}] and [{taken_by[place]}] both publish {port.address}:{port.host}",
                )
            taken_by.setdefault(place, name)


def _probes(document: Document) -> Iterator[Problem]:
    """Probes that can't be asked."""
    for name, table in document.tables().items():
        if not isinstance(table, LongRunningParts) or table.health is None:
            continue
        key = (*key_of(name), "health")
        if table.health.http and table.health.port is None and not table.ports:
            yield Problem(key=key, sentence=f"{label(key)}: http needs a port, and [{name}] has no ports")
        if isinstance(table, ServiceTable) and table.kind == "job":
            yield Problem(key=key, sentence=f"[{name}] is a job, which ends instead of becoming healthy")


def _copies(document: Document) -> Iterator[Problem]:
    """Copies into the release image of what no build puts out."""
    if document.image is None or not document.image.copy_:
        return
    key = ("image", "copy")
    if document.build is None:
        yield Problem(key=key, sentence="[image] copies what [build] puts out, but the file has no [build]")
        return
    output = [normpath(path) for path in document.build.output]
    for source in document.image.copy_:
        if not any(source == path or source.startswith(f"{path}/") or set(path) & set("*?[") for path in output):
            sentence = f"[image] copies {source}, which is no part of the output of [build] ({_listed(output)})"
            yield Problem(key=(*key, source), sentence=sentence)


def _matrix(document: Document) -> Iterator[Problem]:
    """Axes that no variable is called as: the cells would all be the same."""
    table = document.test.matrix if document.test else None
    if table is None:
        return
    wanted: list[tuple[Key, str]] = [((name,), name) for name in table.axes]
    wanted += [(("include", number, name), name) for number, cell in enumerate(table.include) for name in cell]
    for key, name in wanted:
        if name not in document.vars:
            hint = did_you_mean(name, document.vars)
            sentence = f"{label(('test', 'matrix', *key))}: no variable is called {name}{hint}"
            remedy = f"write ${{{name}}} where cells are to differ; what it is elsewhere, [vars] says: {name} = …"
            yield Problem(key=("test", "matrix", *key), sentence=sentence, remedy=remedy)


def _tasks(document: Document) -> Iterator[Problem]:
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
        for problem in _cycles(graph, "needs", "needs")
    )


def _watches(document: Document) -> Iterator[Problem]:
    for name, table in document.tables().items():
        for number, watch in enumerate(table.watch if isinstance(table, LongRunningParts) else ()):
            kind, _, task = watch.do.partition(":")
            if kind == "task" and task not in document.tasks:
                hint = did_you_mean(task, document.tasks)
                yield Problem(key=(*key_of(name), "watch", number, "do"), sentence=f"there is no task {task}{hint}")


def _listed(found: Iterable[str]) -> str:
    short = [name for name in found if "." not in name]
    return ", ".join(short) or "none"
