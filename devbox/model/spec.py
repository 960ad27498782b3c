"""The whole file, resolved: what should be. The input of planning."""

from __future__ import annotations

from dataclasses import field

from devbox.model.container import ContainerSpec
from devbox.model.frozen import dataclass
from devbox.model.image import ImageSpec
from devbox.model.install import Install
from devbox.model.matrix import Tests
from devbox.model.release import Build, ReleaseConfig
from devbox.model.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A project and its worktree. `root` is canonical; `owner` is the uid of the project directory.

    `stage`: it is not where people work, but where releases run in that stage.
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
    """A named volume of the instance; `on_disk` is where the store keeps it, relative to the volumes directory."""

    name: str
    label: str  # as a person wrote it


@dataclass(frozen=True, kw_only=True)
class Task:
    """Named commands of `[tasks]`, run in `dev`: a shell's text or argv each; the first that fails ends the task.

    `needs` run first. With `inputs` (globs below the project) it runs only where one of them changed or an output is
    missing.
    """

    name: str
    commands: tuple[str | tuple[str, ...], ...]
    needs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What happens to `container` when files of the project change: "restart", "rebuild", "signal:HUP", "task:NAME".

    `paths` and `ignore` are globs below the project.
    """

    container: str
    paths: tuple[str, ...]
    ignore: tuple[str, ...] = ()
    do: str = "restart"


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A program of `[tool.NAME]`, run in `container`. An empty `command` is the image's own.

    It is called by its name, or as one of `shims`: that of its program runs the command, others a program so called.
    """

    name: str
    container: str
    command: tuple[str, ...] = ()
    shims: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Hook:
    """A command of `[hooks]`, run on this machine in the project directory. `argv`: it was written as a list."""

    name: str  # "created" | "started"
    command: tuple[str, ...]
    argv: bool = False
    where: str = ""


# In the place of a container, where somebody else wants something of this machine.
HOOKS = "hooks"
SHELL = "shell"  # of whoever enters the project, see `devbox hook`
GATE, METRIC = "gate", "metric"  # in the place of a variable: a command that a stage asks, once or again and again


@dataclass(frozen=True, kw_only=True)
class HostAccess:
    """Something that a file makes this machine do or give away outside of containers: `devbox trust` allows it.

    `reference` is `cmd:COMMAND`, `file:PATH` of a file outside the project, or `image:PATH` of a file that is put onto
    the host at the place `variable`. `container` and `variable` are HOOKS and the hook's name where it is a hook; SHELL
    and a variable of it, which comes from `tools:NAMES` or `export:SERVICE`.
    """

    container: str
    variable: str
    reference: str
    where: str
    path: str = ""  # the file, links followed; "" for a command


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One instance as the file wants it: images and containers by name, start order by `needs`."""

    instance: Instance
    images: dict[str, ImageSpec]
    containers: dict[str, ContainerSpec]
    volumes: tuple[Volume, ...] = ()
    branched: dict[str, str] = field(default_factory=dict)  # volume per git branch → the branch's own in its place
    tasks: dict[str, Task] = field(default_factory=dict)
    watches: tuple[Watch, ...] = ()
    tools: dict[str, Tool] = field(default_factory=dict)
    on_use: tuple[str, ...] = ()  # containers that `up` starts only when they are named: tools, and what only they need
    hooks: dict[str, Hook] = field(default_factory=dict)
    sleeping: dict[str, str] = field(default_factory=dict)  # containers left out → a profile that brings them in
    exports: dict[str, dict[str, str]] = field(default_factory=dict)  # service → variables, called as dev calls them
    recipes: dict[str, str] = field(default_factory=dict)  # recipe → digest of what it says
    unlocked: tuple[str, ...] = ()  # what the lock lacks, a sentence each
    allowed: tuple[HostAccess, ...] = ()  # of what it wants of this machine, what the user allows; none where not asked
    build: Build | None = None
    release: ReleaseConfig | None = None  # of [image]
    stages: dict[str, Stage] = field(default_factory=dict)  # in the order in which a release passes them
    approvers: dict[str, str] = field(default_factory=dict)  # name → file of the public key, below the project
    builders: dict[str, str] = field(default_factory=dict)  # the same of those who build and sign
    installs: dict[str, Install] = field(default_factory=dict)
    tests: Tests | None = None
    later: tuple[str, ...] = ()  # tables of the file whose command this version lacks: "[install.x] is not used yet: …"


Versions = dict[str, str]
"""Package → version."""


@dataclass(frozen=True, kw_only=True)
class Lockfile:
    """All entries. A base system is shared by the images on it; other steps are known by what they do."""

    recipes: dict[str, str] = field(default_factory=dict)  # recipe → digest of what it says
    references: dict[str, str] = field(default_factory=dict)  # an image of a registry, as written → index digest
    tarballs: dict[str, str] = field(default_factory=dict)  # tarball's path in the project → its digest
    bases: dict[str, Versions] = field(default_factory=dict)  # "debian trixie" → its packages
    images: dict[str, dict[str, Versions]] = field(default_factory=dict)  # image → step → what it installs
