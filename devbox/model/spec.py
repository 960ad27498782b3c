"""The resolved env file: desired state, input of planning."""

from __future__ import annotations

from dataclasses import field, fields, replace
from typing import Any

from devbox.model.container import ContainerSpec
from devbox.model.frozen import dataclass
from devbox.model.host_access import HostAccess
from devbox.model.image import ImageSpec
from devbox.model.install import Install
from devbox.model.matrix import Tests
from devbox.model.release import Build, ReleaseConfig
from devbox.model.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A project and its worktree. `root` is canonical; `owner` is the uid of the project directory.

    `stage`: the stage whose releases run here; "" for a development instance.
    """

    id: str
    name: str
    root: str
    env_file: str
    owner: int
    group: int
    stage: str = ""


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A named volume of the instance."""

    name: str
    label: str  # as written in the file


@dataclass(frozen=True, kw_only=True)
class Task:
    """Commands of `[tasks]`, run in `dev`: shell text or argv each; the first failure ends the task.

    `needs` run first. With `inputs` (globs below the project), it runs only if one of them changed or an output is
    missing.
    """

    name: str
    commands: tuple[str | tuple[str, ...], ...]
    needs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Action on `container` when project files change: "restart", "rebuild", "signal:HUP", "task:NAME".

    `paths` and `ignore` are globs below the project.
    """

    container: str
    paths: tuple[str, ...]
    ignore: tuple[str, ...] = ()
    do: str = "restart"


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A program of `[tool.NAME]`, run in `container`. An empty `command` is the image's own.

    It is called by its name or a shim: that of its own program runs `command`, others the program named.
    """

    name: str
    container: str
    command: tuple[str, ...] = ()
    shims: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Hook:
    """A command of `[hooks]`, run on the host in the project directory. `argv`: it was written as a list."""

    name: str  # "created" | "started"
    command: tuple[str, ...]
    argv: bool = False
    where: str = ""


@dataclass(frozen=True, kw_only=True)
class Spec:
    """The desired state of one instance: images and containers by name, start order by `needs`."""

    instance: Instance
    images: dict[str, ImageSpec]
    containers: dict[str, ContainerSpec]
    volumes: tuple[Volume, ...] = ()
    branched: dict[str, str] = field(default_factory=dict)  # volume per git branch → the branch's own replacement
    tasks: dict[str, Task] = field(default_factory=dict)
    watches: tuple[Watch, ...] = ()
    tools: dict[str, Tool] = field(default_factory=dict)
    on_use: tuple[str, ...] = ()  # containers that `up` starts only by name: tools, and their exclusive dependencies
    hooks: dict[str, Hook] = field(default_factory=dict)
    sleeping: dict[str, str] = field(default_factory=dict)  # excluded containers → a profile that includes them
    exports: dict[str, dict[str, str]] = field(default_factory=dict)  # service → variables, named as in dev
    recipes: dict[str, str] = field(default_factory=dict)  # recipe → digest of its content
    build: Build | None = None
    release: ReleaseConfig | None = None  # of [image]
    stages: dict[str, Stage] = field(default_factory=dict)  # in the order in which a release passes them
    approvers: dict[str, str] = field(default_factory=dict)  # name → file of the public key, below the project
    builders: dict[str, str] = field(default_factory=dict)  # the same for builders, who sign images
    installs: dict[str, Install] = field(default_factory=dict)
    tests: Tests | None = None
    later: tuple[str, ...] = ()  # tables whose command this version does not have: "[install.x] is not used yet: …"

    def add_services(self, other: Spec) -> Spec:
        """Return this spec plus the images and containers of `other`; of equal names, this spec's entries are kept."""
        images, containers = other.images | self.images, other.containers | self.containers
        return replace(self, images=images, containers=containers)


@dataclass(frozen=True, kw_only=True)
class LockedSpec(Spec):
    """A spec whose images are pinned as far as the lockfile has entries."""

    unlocked: tuple[str, ...] = ()  # entries missing in the lock, a sentence each

    @classmethod
    def from_spec(cls, spec: Spec, *, images: dict[str, ImageSpec], unlocked: tuple[str, ...]) -> LockedSpec:
        """Pin the images of a spec, also of a derived one."""
        known = {each.name: getattr(spec, each.name) for each in fields(Spec)}
        return cls(**{**known, "images": images, "unlocked": unlocked})


@dataclass(frozen=True, kw_only=True)
class Desired(LockedSpec):
    """The desired state of one instance: a locked spec with the inputs that no file of the project holds.

    These are build contexts, the branch of git, the output of `[build]`, versions of earlier builds, and host access.
    `project.prepare` makes it of an env file; cells of a matrix and stages derive theirs.
    """

    allowed: tuple[HostAccess, ...] = ()  # requested host access that the user permits; empty if not checked

    @classmethod
    def from_locked(
        cls,
        locked: LockedSpec,
        *,
        images: dict[str, ImageSpec],
        containers: dict[str, ContainerSpec] | None = None,
        branched: dict[str, str] | None = None,
        unlocked: tuple[str, ...] | None = None,
        allowed: tuple[HostAccess, ...] = (),
    ) -> Desired:
        """Complete a locked spec; None leaves a field as it is."""
        given = {"containers": containers, "branched": branched, "unlocked": unlocked}
        changed = {name: value for name, value in given.items() if value is not None}
        return cls(**{**vars(locked), "images": images, "allowed": allowed, **changed})

    def derive(self, **changes: Any) -> Desired:
        """Return the desired state of another instance of the file: a cell, a stage, a build, a debug container."""
        return replace(self, **changes)


Versions = dict[str, str]
"""Package → version."""


@dataclass(frozen=True, kw_only=True)
class Lockfile:
    """All lock entries. A base system is shared by its images; other steps are identified by their actions."""

    recipes: dict[str, str] = field(default_factory=dict)  # recipe → digest of its content
    references: dict[str, str] = field(default_factory=dict)  # registry image, as written → index digest
    tarballs: dict[str, str] = field(default_factory=dict)  # tarball's path in the project → its digest
    bases: dict[str, Versions] = field(default_factory=dict)  # "debian trixie" → its packages
    images: dict[str, dict[str, Versions]] = field(default_factory=dict)  # image → step → installed packages
