"""Whether stages, gates and routes name what the file has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from devbox.envfile import names
from devbox.envfile.document import Document
from devbox.envfile.problems import Problem
from devbox.envfile.stages import AnyGate, ApprovalGate, FreezeGate, ProvenanceGate, SignatureGate, SoakGate, StageTable
from devbox.model import windows
from devbox.roles.context import Key
from devbox.roles.suggest import did_you_mean


def check(document: Document) -> Iterator[Problem]:
    """Every stage, and the routes of glue."""
    for name in document.stage:
        if name not in document.stages:
            yield _missing(("stage", name), f"[stage.{name}] is in no order of stages", name, document.stages)
    for name, stage in document.stage.items():
        yield from _stage(name, stage, document)
    known = names.needable(document)
    for name, glue in document.glue.items():
        for route in glue.routes:
            if route.container not in known:
                key = ("glue", name, "routes", route.place)
                sentence = f"the route {route.place} leads to {route.container}, which does not exist"
                yield _missing(key, sentence, route.container, known)


def _stage(name: str, stage: StageTable, document: Document) -> Iterator[Problem]:
    key: Key = ("stage", name)
    if stage.into is not None and (stage.into not in document.stages or stage.into == name):
        yield _missing((*key, "into"), f"there is no other stage {stage.into}", stage.into, document.stages)
    yield from _processes(key, stage, document)
    wanted = document.image.needs if document.image else {}
    for need in stage.external:
        if need not in wanted:
            yield _missing((*key, "external", need), f"[image] does not need {need}", need, wanted)
    for number, gate in enumerate(stage.gates):
        yield from _gate((*key, "gates", number), gate, document)


def _processes(key: Key, stage: StageTable, document: Document) -> Iterator[Problem]:
    known = document.image.process if document.image else {}
    named = [((*key, "replicas", process), process) for process in stage.replicas]
    if stage.strategy.process is not None:
        named.append(((*key, "strategy", "process"), stage.strategy.process))
    for place, process in named:
        if process not in known:
            yield _missing(place, f"[image] has no process {process}", process, known)


def _gate(key: Key, gate: AnyGate, document: Document) -> Iterator[Problem]:
    if isinstance(gate, SoakGate) and gate.stage not in document.stages:
        yield _missing((*key, "stage"), f"there is no stage {gate.stage}", gate.stage, document.stages)
    if isinstance(gate, FreezeGate):
        yield from _freeze(key, gate)
    for person in gate.from_ if isinstance(gate, ApprovalGate) else ():
        if person not in document.approvers:
            yield _missing((*key, "from"), f"[approvers] has no {person}", person, document.approvers)
    for name in gate.keys if isinstance(gate, SignatureGate) else ():
        if name not in (known := {**document.builders, **document.approvers}):
            yield _missing((*key, "keys"), f"neither [builders] nor [approvers] has {name}", name, known)
    for name in gate.builders if isinstance(gate, ProvenanceGate) else ():
        if name not in document.builders:
            yield _missing((*key, "builders"), f"[builders] has no {name}", name, document.builders)


def _freeze(key: Key, gate: FreezeGate) -> Iterator[Problem]:
    try:
        windows.zone(gate.zone)
    except ValueError as error:
        yield Problem(key=(*key, "zone"), sentence=str(error))
    for number, text in enumerate(gate.windows):
        try:
            windows.parse(text)
        except ValueError as error:
            yield Problem(key=(*key, "windows", number), sentence=str(error))


def _missing(key: Key, sentence: str, word: str, known: Iterable[str]) -> Problem:
    return Problem(key=key, sentence=f"{sentence}{did_you_mean(word, known)}")
