"""Table of all kinds of gates. A gate is one file of `promotion/gates` and one line of `GATES`."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

_MODEL = "devbox.model.stage"
_TABLES = "devbox.envfile.gate_tables"
_GATES = "devbox.promotion.gates"


class GateKind(NamedTuple):
    """A kind of gates, by "module:name": the packages that use it import these on first use.

    `settings`: the frozen dataclass, a `model.stage.Gate`. `table`: its keys in the env file, a
    `envfile.gate_tables.GateTable`; fields of both have the same names. `judge`: a function of the settings and a
    `GateContext`, which returns the verdict.
    """

    settings: str
    table: str
    judge: str


# In the order of the JSON schema.
GATES = {
    "tests": GateKind(f"{_MODEL}:TestsGate", f"{_TABLES}:TestsGateTable", f"{_GATES}.tests:judge"),
    "signature": GateKind(
        f"{_MODEL}:SignatureGate", f"{_TABLES}:SignatureGateTable", f"{_GATES}.signature:judge_signature"
    ),
    "provenance": GateKind(
        f"{_MODEL}:ProvenanceGate", f"{_TABLES}:ProvenanceGateTable", f"{_GATES}.signature:judge_provenance"
    ),
    "sbom": GateKind(f"{_MODEL}:SbomGate", f"{_TABLES}:SbomGateTable", f"{_GATES}.sbom:judge"),
    "soak": GateKind(f"{_MODEL}:SoakGate", f"{_TABLES}:SoakGateTable", f"{_GATES}.soak:judge"),
    "approval": GateKind(f"{_MODEL}:ApprovalGate", f"{_TABLES}:ApprovalGateTable", f"{_GATES}.approval:judge"),
    "freeze": GateKind(f"{_MODEL}:FreezeGate", f"{_TABLES}:FreezeGateTable", f"{_GATES}.freeze:judge"),
    "command": GateKind(f"{_MODEL}:CommandGate", f"{_TABLES}:CommandGateTable", f"{_GATES}.command:judge"),
}


def load(place: str) -> Any:
    """Import and return the object at "module:name"."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
