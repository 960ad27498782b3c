"""Expansion of a loaded file into the desired state: images and containers by name. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from devbox.envfile import names, stage_tables, stages
from devbox.envfile.document import Document
from devbox.envfile.load import EnvFile
from devbox.errors import EnvFileError, NotSupported, UsageError
from devbox.model.container import ContainerSpec, Setup
from devbox.model.image import ImageSpec
from devbox.model.install import Install
from devbox.model.matrix import Tests
from devbox.model.release import Build, ReleaseConfig
from devbox.model.spec import Hook, Instance, Spec, Tool, Volume, Watch
from devbox.roles import base, build, dev, glue, images, install, release, service, tasks, test, tool
from devbox.roles.catalog import ROLES
from devbox.roles.containers import select_exports
from devbox.roles.context import ExpansionContext, split_label
from devbox.roles.fields import Model, did_you_mean
from devbox.roles.parts import ImageParts, LongRunningParts, RunParts

# Roles whose images are supported.
_MADE = ("base", "dev", "service", "glue", "tool", "test", "build", "image", "install")
_STARTED = ("dev", "service", "glue")  # roles whose containers are started by `up`
_ON_USE = ("tool",)  # roles whose containers start on demand
_LATER = {role.name: role.later for role in ROLES if role.later is not None}


def list_credentials(env: EnvFile) -> tuple[str, ...]:
    """Return the generated credentials required by the file's services, as "db.password"."""
    container = names.name_containers(env.document)
    wanted = []
    for name, table in env.document.service.items():
        recipe = env.recipes.get(table.recipe or "")
        wanted += [
            f"{container[f'service.{name}']}.{credential}" for credential in (recipe.credentials if recipe else ())
        ]
    return tuple(wanted)


def resolve(
    env: EnvFile, *, instance: Instance, credentials: Mapping[str, str], profiles: tuple[str, ...] = ()
) -> Spec:
    """Return the spec of the instance, with the containers of the given profiles (default: DEVBOX_PROFILES)."""
    document = env.document
    expansion = Expansion(env, credentials)
    started = _list_active(document, profiles or env.profiles)
    active = add_needs(document, [*started, *filter(expansion.is_made, _list_on_demand(document))])
    containers = {spec.name: spec for spec in (expansion.expand_container(label) for label in active)}
    unused = [label for label in document.list_tables() if names.parse_role(label) in _MADE and label not in active]
    spare, not_yet = expansion.list_spare_images(unused)
    return Spec(
        instance=instance,
        images=expansion.list_images(active) | spare,
        containers=containers,
        volumes=_list_volumes(containers.values()),
        branched=_find_branched(document, containers.values()),
        hooks=_expand_hooks(env),
        tasks={name: tasks.expand(table, name) for name, table in document.tasks.items()},
        watches=_expand_watches(document, active),
        tools=expansion.expand_tools(active),
        on_use=tuple(names.name_containers(document)[label] for label in active if label not in started),
        sleeping=_find_sleeping(document, active),
        exports=expansion.list_exports(),
        recipes=dict(env.recipe_digests),
        build=expansion.expand_build(),
        release=_expand_release(env),
        stages={name: stages.expand(document, name, env.locate) for name in document.order()},
        approvers=dict(document.approvers),
        builders=dict(document.builders),
        installs=expansion.expand_installs(profiles or env.profiles),
        tests=expansion.expand_tests() if document.test and document.test.command else None,
        later=(*_list_unsupported(document), *not_yet),
    )


def resolve_tests(env: EnvFile, *, instance: Instance, credentials: Mapping[str, str]) -> Spec:
    """Return the spec of one cell: tests and their needs, without published ports or project writes."""
    expansion = Expansion(env, credentials)
    tests, table = expansion.expand_tests(), env.document.test
    if tests is None or table is None:
        raise UsageError(f"{env.file} has no [test]", remedy='write [test] with from = "dev" and command = "…"')
    needed = add_needs(env.document, [names.list_needable(env.document)[need] for need in table.needs])
    specs = [_isolate_cell(expansion.expand_container(label)) for label in needed]
    specs.append(tests.container)
    return Spec(
        instance=instance,
        images=expansion.list_images([*needed, test.LABEL]),
        containers={spec.name: spec for spec in specs},
        volumes=_list_volumes(specs),
        recipes=dict(env.recipe_digests),
        tests=tests,
    )


def _isolate_cell(spec: ContainerSpec) -> ContainerSpec:
    mounts = tuple(replace(mount, private=mount.kind in ("workspace", "bind")) for mount in spec.mounts)
    return replace(spec, ports=(), mounts=mounts)


class Expansion:
    """Expansion of all tables, each once."""

    def __init__(self, env: EnvFile, credentials: Mapping[str, str]) -> None:
        self._tables = env.document.list_tables()
        self._images: dict[str, ImageSpec] = {}
        exports: dict[str, Mapping[str, str]] = {}
        self._context = ExpansionContext(
            root=env.root,
            workspace=env.document.dev.workspace if env.document.dev else dev.WORKSPACE,
            recipes=env.recipes,
            images=names.list_sources(env.document),
            containers=names.list_needable(env.document),
            names=names.name_containers(env.document),
            exports=exports,
            env_files=env.env_files,
            credentials=credentials,
            image=self.expand_image,
            where=env.locate,
        )
        for label, table in self._tables.items():
            if isinstance(table, service.ServiceTable):
                exports[label] = service.exports(table, label, self._context)

    def list_offers(self, label: str) -> dict[str, str]:
        """Return the exports of a table."""
        return dict(self._context.exports.get(label, {}))

    def list_exports(self) -> dict[str, dict[str, str]]:
        """Return the exports of each service, by container, with dev's names; without dev, all exports."""
        table, context = self._tables.get(dev.LABEL), self._context
        if isinstance(table, dev.DevTable):
            needs = {context.containers[need]: renames for need, renames in table.needs.items()}
        else:
            needs = {label: {} for label in context.exports}
        given = {label: select_exports(context.exports.get(label, {}), renames) for label, renames in needs.items()}
        return {context.names[label]: variables for label, variables in given.items() if variables}

    def expand_image(self, label: str) -> ImageSpec:
        """Return the image of a table."""
        if label not in self._images:
            self._images[label] = self._expand_table_image(label)
        return self._images[label]

    def _expand_table_image(self, label: str) -> ImageSpec:
        table = self._tables[label]
        if isinstance(table, base.BaseTable):
            return base.expand(table, label, self._context)
        if isinstance(table, ImageParts):
            return images.build_image(table, label, self._context)
        return self._expand_built_image(label, table)

    def _expand_built_image(self, label: str, table: Model) -> ImageSpec:
        """Return the image of a table built by `devbox build` or `devbox install`."""
        if isinstance(table, build.BuildTable):
            return build.image(table, self._context)
        if isinstance(table, release.ImageTable):
            return release.image(table, self._context)
        if isinstance(table, install.InstallTable):
            return install.image(table, label, self._context)
        raise NotSupported(
            f"this version of devbox makes no image of [{label}]",
            where=self._context.where(split_label(label)),
            remedy="start from a base or from dev",
        )

    def expand_build(self) -> Build | None:
        """Return the expanded `[build]`, if any."""
        table = self._tables.get(build.LABEL)
        return build.expand(table, self._context) if isinstance(table, build.BuildTable) else None

    def expand_tests(self) -> Tests | None:
        """Return the expanded `[test]`, if any."""
        table = self._tables.get(test.LABEL)
        if not isinstance(table, test.TestTable):
            return None
        return test.expand(table, self._context, setup=self._find_setup(table.from_))

    def _find_setup(self, name: str | None) -> Setup | None:
        """Return the setup of an image's container; only dev has one."""
        table = self._tables.get(dev.LABEL)
        if isinstance(table, dev.DevTable) and name and self._context.images.get(name) == dev.LABEL:
            return dev.build_setup(table, self._context)
        return None

    def expand_installs(self, profiles: tuple[str, ...]) -> dict[str, Install]:
        """Return the expanded `[install.NAME]` tables by name."""
        tables = {label: table for label, table in self._tables.items() if isinstance(table, install.InstallTable)}
        found = [
            install.expand(table, label, self._context, asleep=not _is_in_profiles(table, profiles))
            for label, table in tables.items()
        ]
        return {each.name: each for each in found}

    def expand_container(self, label: str) -> ContainerSpec:
        """Return the container of a table."""
        table = self._tables[label]
        if isinstance(table, dev.DevTable):
            return dev.expand(table, self._context)
        if isinstance(table, service.ServiceTable):
            return service.expand(table, label, self._context)
        if isinstance(table, glue.GlueTable):
            return glue.expand(table, label, self._context, saved=self._find_saved(table, label))
        if isinstance(table, tool.ToolTable):
            return tool.expand(table, label, self._context)
        raise EnvFileError(
            f"[{label}] can't be started by this version of devbox", where=self._context.where(split_label(label))
        )

    def _find_saved(self, table: glue.GlueTable, label: str) -> dict[str, str]:
        """Return the volumes named in `backup`, by container or volume name, each with a container that mounts it."""
        if not table.backup:
            return {}
        known = [self.expand_container(name) for name in self._tables if names.parse_role(name) in ("dev", "service")]
        owned = {mount.source: spec for spec in reversed(known) for mount in spec.mounts if mount.kind == "volume"}
        found: dict[str, str] = {}
        for name in table.backup:
            meant = [volume for volume, spec in owned.items() if name in (volume, spec.name, spec.label)]
            if not meant:
                raise EnvFileError(
                    f"[{label}] backs up {name}, but there is no such volume and no service with one",
                    where=self._context.where((*split_label(label), "backup")),
                    remedy=f"known: {', '.join(sorted({*owned, *(spec.name for spec in owned.values())})) or 'none'}",
                )
            found |= {volume: owned[volume].name for volume in meant}
        return found

    def is_made(self, label: str) -> bool:
        """True if the image of a table is supported."""
        return not self.list_spare_images([label])[1]

    def expand_tools(self, labels: Iterable[str]) -> dict[str, Tool]:
        """Return the tools of the file by name."""
        tables = {label: table for label in labels if isinstance(table := self._tables[label], tool.ToolTable)}
        programs = [tool.build_program(table, label, self._context) for label, table in tables.items()]
        taken: dict[str, str] = {}
        for label, program in zip(tables, programs, strict=True):
            for shim in program.shims:
                if taken.setdefault(shim, label) != label:
                    raise EnvFileError(
                        f"[{label}] puts {shim} on PATH, and so does [{taken[shim]}]",
                        where=self._context.where((*split_label(label), "shims")),
                        remedy='name the commands of one of them: shims = ["…"], or [] for none',
                    )
        return {program.name: program for program in programs}

    def list_spare_images(self, labels: Iterable[str]) -> tuple[dict[str, ImageSpec], tuple[str, ...]]:
        """Return the images of tables not started by `up`, and a sentence per unsupported image."""
        found: dict[str, ImageSpec] = {}
        not_yet: list[str] = []
        for label in labels:
            try:
                found |= self.list_images([label])
            except NotSupported as error:
                not_yet.append(f"{error.where}: {error.sentence}")
        return found, tuple(dict.fromkeys(not_yet))

    def list_images(self, labels: Iterable[str]) -> dict[str, ImageSpec]:
        """Return the images of tables, each after its parent."""
        found: dict[str, ImageSpec] = {}
        for label in labels:
            chain = [self.expand_image(label)]
            while (parent := chain[-1].parent) is not None:
                chain.append(self.expand_image(parent))
            found.update({spec.name: spec for spec in reversed(chain)})
        return found


def _expand_release(env: EnvFile) -> ReleaseConfig | None:
    """Return the config of the release, with the processes of stages whose vars change them."""
    if env.document.image is None:
        return None
    made = release.build_config(env.document.image)
    staged = {
        name: release.build_config(own.document.image).processes
        for name, own in env.staged.items()
        if own.document.image
    }
    return replace(made, stages={name: own for name, own in staged.items() if own != made.processes})


def _expand_hooks(env: EnvFile) -> dict[str, Hook]:
    """Return the hooks of the file, in execution order."""
    table = env.document.hooks
    return {
        name: Hook(name=name, command=command, argv=argv, where=env.locate(("hooks", name)))
        for name in type(table).model_fields
        if (command := getattr(table, name)) is not None
        for argv in [command[:2] != ("/bin/sh", "-c")]
    }


def _list_active(document: Document, profiles: tuple[str, ...]) -> list[str]:
    """Return the labels of the containers started by `up`: those of the profiles and their needs."""
    tables = {label: table for label, table in document.list_tables().items() if names.parse_role(label) in _STARTED}
    known = {profile for table in document.list_tables().values() for profile in getattr(table, "profiles", ())}
    for profile in profiles:
        if profile not in known:
            raise UsageError(f"the file has no profile {profile}{did_you_mean(profile, known)}")
    return add_needs(document, [label for label, table in tables.items() if _is_in_profiles(table, profiles)])


def _list_on_demand(document: Document) -> list[str]:
    """Return the labels of on-demand containers."""
    return [label for label in document.list_tables() if names.parse_role(label) in _ON_USE]


def add_needs(document: Document, labels: list[str]) -> list[str]:
    """Return the labels and their needs, transitively, in file order."""
    by_name = names.list_needable(document)
    waiting = list(labels)
    active: set[str] = set()
    while waiting:
        label = waiting.pop()
        if label in active:
            continue
        active.add(label)
        waiting += [by_name[need] for need in _list_reached(document.list_tables()[label]) if need in by_name]
    return [label for label in document.list_tables() if label in active]


def _list_reached(table: Model) -> tuple[str, ...]:
    return table.reaches if isinstance(table, RunParts) else ()


def _find_sleeping(document: Document, active: Iterable[str]) -> dict[str, str]:
    """Return the containers of disabled profiles, each with its first profile."""
    name = names.name_containers(document)
    tables = document.list_tables().items()
    asleep = {label: table for label, table in tables if label not in active and names.parse_role(label) in _STARTED}
    return {name[label]: table.profiles[0] for label, table in asleep.items() if isinstance(table, RunParts)}


def _is_in_profiles(table: Model, profiles: tuple[str, ...]) -> bool:
    own = getattr(table, "profiles", ())
    return not own or bool(set(own) & set(profiles))


def _find_branched(document: Document, containers: Iterable[ContainerSpec]) -> dict[str, str]:
    """Return the volumes of services with data per branch; the current branch is determined later."""
    own = {f"service.{name}" for name, table in document.service.items() if table.data == "branch"}
    mounts = (mount for spec in containers if spec.label in own for mount in spec.mounts)
    return {mount.source: mount.source for mount in mounts if mount.kind == "volume"}


def _list_volumes(containers: Iterable[ContainerSpec]) -> tuple[Volume, ...]:
    found = [mount.source for spec in containers for mount in spec.mounts if mount.kind == "volume"]
    return tuple(Volume(name=name, label=name) for name in dict.fromkeys(found))


def _expand_watches(document: Document, active: Iterable[str]) -> tuple[Watch, ...]:
    """Return the watch rules of the containers."""
    name, tables = names.name_containers(document), document.list_tables()
    return tuple(
        Watch(container=name[label], paths=watch.paths, ignore=watch.ignore, do=watch.do)
        for label in active
        if isinstance(table := tables[label], LongRunningParts)
        for watch in table.watch
    )


def _list_unsupported(document: Document) -> tuple[str, ...]:
    """Return one sentence per table that this version does not support."""
    found = [(_LATER.get(names.parse_role(label)), label, table) for label, table in document.list_tables().items()]
    sentences = [later(label, table) for later, label, table in found if later is not None]
    return (
        *filter(None, sentences),
        *filter(None, map(stage_tables.describe_unsupported, document.stage, document.stage.values())),
    )
