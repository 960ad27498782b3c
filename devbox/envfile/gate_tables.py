"""Schema of the gates of `[stage.NAME]`, and their checks against the rest of the file. See `model.gate_kinds`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Annotated, Literal

from pydantic import Field

from devbox.envfile.problems import report_missing
from devbox.model import windows
from devbox.model.frozen import dataclass
from devbox.roles.fields import Command, Duration, Model, Text, Texts, Whole
from devbox.roles.role import Key, Problem

# Attribute of a table → field of the model, where the names differ.
FIELDS = {"from_": "people"}


@dataclass(frozen=True, kw_only=True)
class GateNames:
    """Names of the file that gates may use."""

    stages: Collection[str]
    approvers: Collection[str]
    builders: Collection[str]


class GateTable(Model):
    """Common keys of all gates."""

    expires: Duration | None = None
    """Lifetime of the evidence."""

    def check(self, key: Key, names: GateNames) -> Iterable[Problem]:
        """Yield the problems of the gate at `key` with the names of the file."""
        return ()


class TestsGateTable(GateTable):
    """Requires that the current tests passed against this digest, in every cell of the current matrix."""

    kind: Literal["tests"]
    """Kind of the gate."""


class SignatureGateTable(GateTable):
    """Requires a signature of the image by one of `keys`."""

    kind: Literal["signature"]
    """Kind of the gate."""
    keys: Texts = ()
    """Accepted keys, by name in `[builders]` or `[approvers]` (default: all builders)."""

    def check(self, key: Key, names: GateNames) -> Iterator[Problem]:
        """Report unknown keys."""
        known = list(dict.fromkeys((*names.builders, *names.approvers)))
        for name in self.keys:
            if name not in known:
                yield report_missing((*key, "keys"), f"key {name} not found in [builders] or [approvers]", name, known)


class ProvenanceGateTable(GateTable):
    """Requires a signed provenance of the image: its builder and source."""

    kind: Literal["provenance"]
    """Kind of the gate."""
    builders: Texts = ()
    """Accepted builders, by name in `[builders]` (default: all)."""

    def check(self, key: Key, names: GateNames) -> Iterator[Problem]:
        """Report unknown builders."""
        for name in self.builders:
            if name not in names.builders:
                yield report_missing(
                    (*key, "builders"), f"builder {name} not found in [builders]", name, names.builders
                )


class SbomGateTable(GateTable):
    """Requires an SBOM without denied packages or licenses."""

    kind: Literal["sbom"]
    """Kind of the gate."""
    deny: Texts = ()
    """Denied packages: NAME, NAME@VERSION or a package URL, with or without a version."""
    deny_licenses: Texts = ()
    """Denied licenses, by SPDX name."""
    vulnerabilities: Text | None = None
    """File of denied packages, one per line: an ID such as CVE-2024-3094, then a package as in `deny`."""


class SoakGateTable(GateTable):
    """Requires that the release ran in `stage` for a time, observed healthy and without drift."""

    kind: Literal["soak"]
    """Kind of the gate."""
    stage: Text
    """Stage in which the release must have run."""
    duration: Duration
    """Time for which the release must have been observed healthy."""

    def check(self, key: Key, names: GateNames) -> Iterator[Problem]:
        """Report an unknown stage."""
        if self.stage not in names.stages:
            yield report_missing((*key, "stage"), f"stage {self.stage} not found", self.stage, names.stages)


class ApprovalGateTable(GateTable):
    """Requires approvals of this deployment by `count` of the approvers in `from` (default: all)."""

    kind: Literal["approval"]
    """Kind of the gate."""
    count: Annotated[Whole, Field(ge=1)] = 1
    """Number of required approvals."""
    from_: Texts = Field(default=(), alias="from")
    """Accepted approvers, by name in `[approvers]` (default: all)."""

    def check(self, key: Key, names: GateNames) -> Iterator[Problem]:
        """Report unknown approvers."""
        for name in self.from_:
            if name not in names.approvers:
                yield report_missing((*key, "from"), f"approver {name} not found in [approvers]", name, names.approvers)


class FreezeGateTable(GateTable):
    """Blocks promotions during windows ("Fri 16:00 - Mon 08:00") of an IANA time zone."""

    kind: Literal["freeze"]
    """Kind of the gate."""
    windows: Texts
    """Windows in which the gate is closed."""
    zone: Text = "UTC"
    """IANA time zone of the windows."""

    def check(self, key: Key, names: GateNames) -> Iterator[Problem]:
        """Report an unknown zone and invalid windows."""
        try:
            windows.load_zone(self.zone)
        except ValueError as error:
            yield Problem(key=(*key, "zone"), sentence=str(error))
        for number, text in enumerate(self.windows):
            try:
                windows.parse(text)
            except ValueError as error:
                yield Problem(key=(*key, "windows", number), sentence=str(error))


class CommandGateTable(GateTable):
    """Requires exit code 0 of a command on the host."""

    kind: Literal["command"]
    """Kind of the gate."""
    run: Command
    """Command on the host."""
