"""Access to the host outside containers that an env file requests: a class per kind, permitted by `devbox trust`."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from devbox.model.frozen import dataclass


class AccessRecord(NamedTuple):
    """The form in which access is shown, and hashed for the permission; its values must not change."""

    container: str  # or the kind or table that requests the access
    variable: str
    reference: str
    path: str = ""  # of a secret


@dataclass(frozen=True, kw_only=True)
class SecretAccess:
    """A secret from outside the project, for a container or, as `stage.NAME`, a stage."""

    container: str
    variable: str
    reference: str  # "cmd:COMMAND" or "file:PATH"
    where: str
    path: str = ""  # the file with links resolved; "" for a command

    def record(self) -> AccessRecord:
        """Return the stored fields."""
        return AccessRecord(self.container, self.variable, self.reference, self.path)


@dataclass(frozen=True, kw_only=True)
class HookAccess:
    """A hook's command, run on the host."""

    name: str
    command: str
    where: str

    def record(self) -> AccessRecord:
        """Return the stored fields."""
        return AccessRecord("hooks", self.name, f"cmd:{self.command}")


@dataclass(frozen=True, kw_only=True)
class ShellToolsAccess:
    """Commands, separated by spaces, on the PATH of a shell in the project; see `devbox hook`."""

    commands: str
    where: str

    def record(self) -> AccessRecord:
        """Return the stored fields."""
        return AccessRecord("shell", "PATH", f"tools:{self.commands}")


@dataclass(frozen=True, kw_only=True)
class ShellVariableAccess:
    """A service's exported variable in a shell in the project; see `devbox hook`."""

    variable: str
    service: str
    where: str

    def record(self) -> AccessRecord:
        """Return the stored fields."""
        return AccessRecord("shell", self.variable, f"export:{self.service}")


@dataclass(frozen=True, kw_only=True)
class InstallAccess:
    """A file of an image to install on the host. `install`: the table; `place`: the path on the host."""

    install: str
    place: str
    path: str
    where: str

    def record(self) -> AccessRecord:
        """Return the stored fields."""
        return AccessRecord(self.install, self.place, f"image:{self.path}")


@dataclass(frozen=True, kw_only=True)
class GateAccess:
    """A gate's command, run on the host once per promotion. `stage`: the table."""

    kind: ClassVar[str] = "gate"

    stage: str
    command: str
    where: str

    def record(self) -> AccessRecord:
        """Return the stored fields."""
        return AccessRecord(self.stage, self.kind, f"cmd:{self.command}")


@dataclass(frozen=True, kw_only=True)
class MetricAccess:
    """A metric's command, run on the host repeatedly during a gray release. `stage`: the table."""

    kind: ClassVar[str] = "metric"

    stage: str
    command: str
    where: str

    def record(self) -> AccessRecord:
        """Return the stored fields."""
        return AccessRecord(self.stage, self.kind, f"cmd:{self.command}")


HostAccess = (
    SecretAccess | HookAccess | ShellToolsAccess | ShellVariableAccess | InstallAccess | GateAccess | MetricAccess
)
