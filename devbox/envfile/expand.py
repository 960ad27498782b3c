"""Expansion of a loaded file into the desired state: images and containers by name. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from devbox.envfile import gate_tables, stage_tables
from devbox.envfile.document import Document
from devbox.envfile.load import EnvFile
from devbox.errors import NotSupported, UsageError
from devbox.model import gate_kinds
from devbox.model import stage as model
from devbox.model.container import ContainerSpec, Setup
from devbox.model.image import ImageSpec
from devbox.model.spec import Hook, Instance, Spec, Volume, Watch
from devbox.roles import dev, test
from devbox.roles.catalog import TABLE_KINDS, find_role
from devbox.roles.containers import select_exports
from devbox.roles.fields import did_you_mean
from devbox.roles.parts import LongRunningParts, RunParts, is_enabled, list_reached
from devbox.roles.role import ExpansionContext, Key, Role, Start


def list_credentials(env: EnvFile) -> tuple[str, ...]:
    """Return the generated credentials required by the file's services, as "db.password"."""
    container = env.document.name_containers()
    return tuple(
        f"{container[label]}.{credential}"
        for label, table in env.document.list_tables().items()
        for credential in find_role(label).list_credentials(table, env.recipes)
    )


def resolve(
    env: EnvFile, *, instance: Instance, credentials: Mapping[str, str], profiles: tuple[str, ...] = ()
) -> Spec:
    """Return the spec of the instance, with the containers of the given profiles (default: DEVBOX_PROFILES)."""
    document = env.document
    expansion = Expansion(env, credentials, profiles=profiles or env.profiles)
    started = _list_active(document, profiles or env.profiles)
    active = add_needs(document, [*started, *filter(expansion.is_made, _list_on_demand(document))])
    containers = {spec.name: spec for spec in (expansion.expand_container(label) for label in active)}
    spare, not_yet = expansion.list_spare_images([label for label in document.list_tables() if label not in active])
    spec = Spec(
        instance=instance,
        images=expansion.list_images(active) | spare,
        containers=containers,
        volumes=_list_volumes(containers.values()),
        hooks=_expand_hooks(env),
        watches=_expand_watches(document, active),
        on_use=tuple(document.name_containers()[label] for label in active if label not in started),
        sleeping=_find_sleeping(document, active),
        exports=expansion.list_exports(),
        recipes=dict(env.recipe_digests),
        stages={name: _expand_stage(document, name, env.locate) for name in document.order()},
        approvers=dict(document.approvers),
        builders=dict(document.builders),
        later=(*_list_unsupported(document), *not_yet),
    )
    return expansion.extend(spec, active)


def resolve_tests(env: EnvFile, *, instance: Instance, credentials: Mapping[str, str]) -> Spec:
    """Return the spec of one cell: tests and their needs, without published ports or project writes."""
    expansion = Expansion(env, credentials)
    table = env.document.find(test.ROLE)
    if table is None:
        raise UsageError(f"missing [test] in {env.file}", remedy='add [test] with from = "dev" and command = "…"')
    tests = test.expand(table, expansion.context)
    needed = add_needs(env.document, [env.document.list_needable()[need] for need in table.needs])
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

    def __init__(self, env: EnvFile, credentials: Mapping[str, str], *, profiles: tuple[str, ...] = ()) -> None:
        self._document = env.document
        self._tables = env.document.list_tables()
        self._images: dict[str, ImageSpec] = {}
        exports: dict[str, Mapping[str, str]] = {}
        table = env.document.find(dev.ROLE)
        self.context = ExpansionContext(
            root=env.root,
            workspace=table.workspace if table else dev.WORKSPACE,
            recipes=env.recipes,
            images=env.document.list_sources(),
            containers=env.document.list_needable(),
            names=env.document.name_containers(),
            exports=exports,
            env_files=env.env_files,
            credentials=credentials,
            profiles=profiles,
            staged={name: own.document.list_tables() for name, own in env.staged.items()},
            image=self.expand_image,
            container=self.expand_container,
            setup=self._build_setup,
            where=env.locate,
        )
        for label, each in self._tables.items():
            exports[label] = find_role(label).exports(each, label, self.context)

    def list_offers(self, label: str) -> dict[str, str]:
        """Return the exports of a table."""
        return dict(self.context.exports[label])

    def list_exports(self) -> dict[str, dict[str, str]]:
        """Return the exports of each service, by container, with dev's names; without dev, all exports."""
        table, context = self._document.find(dev.ROLE), self.context
        if table is not None:
            needs = {context.containers[need]: renames for need, renames in table.needs.items()}
        else:
            needs = {label: {} for label in context.exports}
        given = {label: select_exports(context.exports[label], renames) for label, renames in needs.items()}
        return {context.names[label]: variables for label, variables in given.items() if variables}

    def expand_image(self, label: str) -> ImageSpec:
        """Return the image of a table."""
        if label not in self._images:
            self._images[label] = find_role(label).image(self._tables[label], label, self.context)
        return self._images[label]

    def expand_container(self, label: str) -> ContainerSpec:
        """Return the container of a table."""
        return find_role(label).container(self._tables[label], label, self.context)

    def _build_setup(self, label: str) -> Setup | None:
        return find_role(label).build_setup(self._tables[label], self.context)

    def is_made(self, label: str) -> bool:
        """True if the image of a table is supported."""
        return not self.list_spare_images([label])[1]

    def extend(self, spec: Spec, active: Iterable[str]) -> Spec:
        """Return the spec with the additions of each kind of table: of `active` containers, if it has any."""
        desired = set(active)
        for kind in TABLE_KINDS:
            tables = self._document.select(kind)
            if isinstance(kind, Role) and kind.start is not Start.NEVER:
                tables = {label: table for label, table in tables.items() if label in desired}
            spec = kind.extend(spec, tables, self.context)
        return spec

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
    tables = document.list_tables()
    known = {profile for table in tables.values() for profile in getattr(table, "profiles", ())}
    for profile in profiles:
        if profile not in known:
            raise UsageError(f"profile {profile} not found{did_you_mean(profile, known)}")
    return add_needs(document, _list_enabled(document, profiles))


def _list_enabled(document: Document, profiles: tuple[str, ...]) -> list[str]:
    tables = document.list_tables().items()
    return [label for label, table in tables if _is_started(label) and is_enabled(table, profiles)]


def _is_started(label: str) -> bool:
    """True if `up` starts the containers of the label's role."""
    return find_role(label).start is Start.UP


def _list_on_demand(document: Document) -> list[str]:
    """Return the labels of on-demand containers."""
    return [label for label in document.list_tables() if find_role(label).start is Start.ON_DEMAND]


def add_needs(document: Document, labels: list[str]) -> list[str]:
    """Return the labels and their needs, transitively, in file order."""
    by_name = document.list_needable()
    waiting = list(labels)
    active: set[str] = set()
    while waiting:
        label = waiting.pop()
        if label in active:
            continue
        active.add(label)
        waiting += [by_name[need] for need in list_reached(document.list_tables()[label]) if need in by_name]
    return [label for label in document.list_tables() if label in active]


def _find_sleeping(document: Document, active: Iterable[str]) -> dict[str, str]:
    """Return the containers of disabled profiles, each with its first profile."""
    name = document.name_containers()
    tables = document.list_tables().items()
    asleep = {label: table for label, table in tables if label not in active and _is_started(label)}
    return {name[label]: table.profiles[0] for label, table in asleep.items() if isinstance(table, RunParts)}


def _list_volumes(containers: Iterable[ContainerSpec]) -> tuple[Volume, ...]:
    found = [mount.source for spec in containers for mount in spec.mounts if mount.kind == "volume"]
    return tuple(Volume(name=name, label=name) for name in dict.fromkeys(found))


def _expand_watches(document: Document, active: Iterable[str]) -> tuple[Watch, ...]:
    """Return the watch rules of the containers."""
    name, tables = document.name_containers(), document.list_tables()
    return tuple(
        Watch(container=name[label], paths=watch.paths, ignore=watch.ignore, do=watch.do)
        for label in active
        if isinstance(table := tables[label], LongRunningParts)
        for watch in table.watch
    )


def _list_unsupported(document: Document) -> tuple[str, ...]:
    """Return one sentence per table that this version does not support."""
    return tuple(filter(None, map(stage_tables.describe_unsupported, document.stage, document.stage.values())))


def _expand_stage(document: Document, name: str, where: Callable[[Key], str]) -> model.Stage:
    """Return the stage of that name; a stage of the order without a table has all defaults."""
    table = document.stage.get(name) or stage_tables.StageTable()
    order = document.order()
    return model.Stage(
        name=name,
        order=order.index(name),
        protected=table.protected or name == order[-1],
        target=table.target,
        into=table.into or "",
        repository=table.repository or "",
        publish=table.publish,
        drain=table.drain,
        verify=table.verify,
        vars=dict(table.vars),
        env=dict(table.env),
        secrets=dict(table.secrets),
        replicas=dict(table.replicas),
        external={need: dict(variables) for need, variables in table.external.items()},
        gates=tuple(_expand_gate(gate) for gate in table.gates),
        strategy=_expand_strategy(table.strategy),
        where=where(("stage", name)),
    )


def _expand_gate(gate: gate_tables.GateTable) -> model.Gate:
    plain = {gate_tables.FIELDS.get(name, name): value for name, value in gate}
    settings: type[model.Gate] = gate_kinds.load(gate_kinds.GATES[plain.pop("kind")].settings)
    return settings(**plain)


def _expand_strategy(table: stage_tables.StrategyTable) -> model.Strategy:
    counted = tuple(
        model.Metric(name=each.display_name, alpha=each.alpha, quantile=each.quantile)
        for each in table.metrics
        if not each.is_external
    )
    outside = tuple(_expand_external(each) for each in table.metrics if each.is_external)
    warmup = model.Warmup(**dict(table.warmup))
    return model.Strategy(**{**dict(table), "metrics": counted, "outside": outside, "warmup": warmup})


def _expand_external(table: stage_tables.MetricTable) -> model.ExternalMetric:
    return model.ExternalMetric(
        name=table.display_name,
        command=table.command or (),
        promql=table.promql or "",
        url=(table.url or "").rstrip("/"),
        authorization=table.authorization or "",
        most=table.most,
        least=table.least,
        every=table.every,
        timeout=table.timeout,
        failures=table.failures,
    )
