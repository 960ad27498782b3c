"""Steps that run programs in a container over the layers below: packages and commands."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from devbox.errors import BakeFailed, HostError
from devbox.host import carry, environ
from devbox.host.paths import Paths
from devbox.images import apt, debs, lacking, mirrors
from devbox.images.aptcache import AptCache
from devbox.images.epoch import REPEATABLE
from devbox.images.output import Output, Reader, any_line
from devbox.isolation import sandboxed
from devbox.isolation.network import bridge
from devbox.isolation.types import Bind, IdMap, Process
from devbox.model.image import DEFAULT_PATH, Bootstrap, Packages, Run

_ARCHIVES = "/var/cache/apt/archives"
_LISTS = "/var/lib/apt/lists"
_POLICY = "/usr/sbin/policy-rc.d"
_PINS = "/.devbox/pins"
_PREFERENCES = "/.devbox/preferences"
_DEBS = "/.devbox/debs"
_CONSTRAINTS = "/.devbox/constraints"
SHELL = ("/bin/sh", "-c", "if command -v bash >/dev/null; then exec bash; fi; exec sh")
_GLOB = re.compile(r"([*?\[\]]+)")

# Two runs: bakes of a suite take turns downloading, and install side by side. An https mirror is checked by the host's
# authorities: a minimal system has none. A mirror or proxy that does not answer fails the update, soon, instead of
# leaving an empty list. Lists are kept as the signed index names them, not packed anew.
_GET = f"""
get() {{
    apt-get -q -y --no-install-recommends -o Acquire::https::CAInfo={carry.CA_TARGET} -o APT::Update::Error-Mode=any \\
        -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 \\
        -o Acquire::GzipIndexes=false -o Dir::Etc::Preferences={_PREFERENCES} "$@"
}}
"""
_DOWNLOAD = f"""
get update || exit
lacking=$(cut -d' ' -f1 {_PINS} | xargs -r apt-cache madison | awk '
    FILENAME != "-" {{ wanted[$1] = $2; next }}
    !($1 in best) {{ best[$1] = $3 }}
    $1 in wanted && wanted[$1] == $3 {{ delete wanted[$1] }}
    END {{ for (name in wanted) print "{apt.LACKING}", name, wanted[name], best[name] }}' {_PINS} -)
[ -z "$lacking" ] || {{ echo "$lacking"; exit 1; }}
get --download-only install -- "$@" || exit
"""
_INSTALL = """
get install -- "$@" || exit
"""


class Ground:
    """What the containers of a job stand on: their instance with its network, and what they are given of this machine.

    The instance is begun when the first of them wants it, or ahead of that.
    """

    def __init__(self, paths: Paths, idmap: IdMap) -> None:
        self._paths = paths
        self._idmap = idmap
        self._subnet = bridge.free_subnet()
        self._instance: sandboxed.Instance | None = None
        self.gateway = bridge.gateway_of(self._subnet)
        self.carry = carry.carry(self.gateway)

    def instance(self, host_ports: tuple[int, ...] = ()) -> sandboxed.Instance:
        """The instance, whose containers reach these ports of the host besides those that are carried."""
        wanted = (*self.carry.ports, *host_ports)
        if self._instance is not None and not self._instance.host_ports.issuperset(wanted):
            self.end()
        if self._instance is None:
            work = sandboxed.scratch(self._paths.runtime)
            self._instance = sandboxed.begin(
                self._idmap, work=work, network="egress", host_ports=wanted, subnet=self._subnet
            )
        return self._instance

    def end(self) -> None:
        """End the instance: no other container will come, or one that wants another."""
        if self._instance is not None:
            sandboxed.end(self._instance)
            self._instance = None


class Inside:
    """Runs the steps of one job. `top`, on the store's disk, gets `upper/` with the changes."""

    def __init__(
        self, paths: Paths, ground: Ground, output: Output, *, lowers: tuple[str, ...], place: str, project: str
    ) -> None:
        self._paths = paths
        self._ground = ground
        self._output = output
        self._lowers = lowers
        self._place = place
        self._project = project
        self._last: Callable[..., int] | None = None  # runs a process as the step's own was run
        self._env: dict[str, str] = {}

    @property
    def has_run(self) -> bool:
        """Whether a program of the step ran: it has left a state to look at."""
        return self._last is not None

    def shell(self, terminal: int) -> None:
        """A shell on a terminal, in what the step left: its files, variables, mounts and network."""
        if self._last is None:
            return
        columns, rows = os.get_terminal_size(terminal)
        settings = self._env | {"TERM": environ.get("TERM", "dumb")}
        process = Process(argv=SHELL, env=_pairs(settings), cwd="/", tty=True, rows=rows, columns=columns)
        self._last(process, streams=(terminal, terminal, terminal))

    def packages(self, step: Packages, base: Bootstrap | None) -> None:
        """Install packages and remove what the step purges."""
        if base is None:
            raise BakeFailed("packages need a base of Debian or Ubuntu below them")
        cache = AptCache(self._paths, base)
        mirror, ports = carry.from_inside(mirrors.local_sources(base), self._ground.gateway)
        pins = "".join(f"{name} {version}\n" for name, version in (step.pins or {}).items())
        sources = mirror
        if step.pins is not None:
            sources = self._locked_sources(step.pins, base, mirror=mirror, archives=cache.debs)
        binds = [
            self._covered(cache.debs, _ARCHIVES),
            self._covered(cache.lists, _LISTS),
            *([] if step.pins is None else [Bind(f"{self._place}/debs", _DEBS, read_only=True)]),
            self._file("pins", _PINS, pins),
            self._file("preferences", _PREFERENCES, debs.preferences(step.pins, step.prefer)),
            self._file("policy-rc.d", _POLICY, "#!/bin/sh\nexit 101\n", mode=0o755),
            self._file("sources.list", "/etc/apt/sources.list", sources),
        ]
        run = partial(
            self._run,
            env={"DEBIAN_FRONTEND": "noninteractive"},
            binds=binds,
            reader=apt.AptProgress().feed,
            host_ports=ports,
        )
        with cache.held():
            code = run(["/bin/sh", "-c", _GET + _DOWNLOAD, "packages", *step.names])
            cache.keep(
                lists=f"{self._place}/{_top_name(_LISTS)}/upper",
                archives=f"{self._place}/{_top_name(_ARCHIVES)}/upper",
                place=f"{self._place}/proof",
            )
        code = code or run(["/bin/sh", "-c", _GET + _INSTALL + purge_script(step.purge), "packages", *step.names])
        if code:
            if differing := apt.not_offered(self._output.all()):
                raise lacking.error(differing)
            system = f"{base.distribution} {base.suite}"
            cause = apt.explain(self._output.all(), system=system)
            sentence = cause.sentence or f"could not install {', '.join(step.names)} in {system}"
            kind = HostError if cause.of_host else BakeFailed
            raise kind(sentence, details=cause.evidence, remedy=cause.remedy)

    def _locked_sources(self, pins: dict[str, str], base: Bootstrap, *, mirror: str, archives: str) -> str:
        """Sources of locked packages: the cache, and the mirror for what is not in it."""
        complete = debs.offer(archives, f"{self._place}/debs", pins, suite=base.suite)
        return debs.source(_DEBS) + ("" if complete else mirror)

    def commands(self, step: Run) -> None:
        """Run the commands in order; the first that fails ends the step."""
        caches = {path: self._paths.command_cache(self._project, name) for name, path in sorted(step.caches.items())}
        binds = [self._shared(source, path) for path, source in caches.items()]
        env = dict(step.env)
        if constraints := pip_constraints(step.pins or {}):
            binds.append(self._file("constraints", _CONSTRAINTS, constraints))
            env |= {"PIP_CONSTRAINT": _CONSTRAINTS, "UV_CONSTRAINT": _CONSTRAINTS}
        code = self._run(["/bin/sh", "-c", run_script(step.commands)], env, binds, reader=any_line)
        if code:
            raise BakeFailed(f"a command of the step ended with {code}", details=self._output.tail())

    def _run(
        self,
        argv: Sequence[str],
        env: dict[str, str],
        binds: list[Bind],
        *,
        reader: Reader,
        host_ports: tuple[int, ...] = (),
    ) -> int:
        carried = self._ground.carry
        settings = {**carried.env, "PATH": DEFAULT_PATH, "HOME": "/root", "LANG": "C.UTF-8"}
        settings |= REPEATABLE | env
        if carried.ca_file:
            binds = [*binds, Bind(carried.ca_file, carry.CA_TARGET, read_only=True)]
        self._env = settings
        self._last = partial(
            sandboxed.run,
            self._ground.instance(host_ports),
            lowers=self._lowers,
            top=f"{self._place}/top",
            binds=tuple(binds),
        )
        process = Process(argv=tuple(argv), env=_pairs(settings), cwd="/")
        with self._output.lines(reader) as sink, open(os.devnull, "rb") as nothing:
            streams = (nothing.fileno(), sink, sink)
            return self._last(process, streams=streams)

    def _shared(self, source: str, target: str) -> Bind:
        """A cache directory of the store, owned by the container's root."""
        make_cache(source)
        return Bind(source, target, owner=0, group=0)

    def _covered(self, source: str, target: str) -> Bind:
        """The same, to read: what is written to it lies in the place of this step."""
        return self._shared(source, target)._replace(top=f"{self._place}/{_top_name(target)}")

    def _file(self, name: str, target: str, text: str, *, mode: int = 0o644) -> Bind:
        """A small file mounted over one of the image."""
        path = f"{self._place}/{name}"
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(path, mode)
        return Bind(path, target, read_only=True)


def make_cache(path: str) -> None:
    """Make a cache; keep others out of root's: a container may leave set-uid files of root's there.

    The container itself comes in by its bind, and does not pass the directory above.
    """
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        os.chmod(directory, 0o700)
    os.makedirs(path, exist_ok=True)


def _top_name(target: str) -> str:
    return f"top-{os.path.basename(target)}"


def _pairs(env: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in sorted(env.items()))


def run_script(commands: Sequence[str | tuple[str, ...]]) -> str:
    """A shell script of the commands: a string by a shell of its own, a list as it is; each is printed first. Pure."""
    lines = []
    for command in commands:
        argv = ("/bin/sh", "-c", command) if isinstance(command, str) else command
        shown = command if isinstance(command, str) else shlex.join(command)
        lines.append(f"printf '%s\\n' {shlex.quote(f'+ {shown}')}; {shlex.join(argv)} || exit")
    return "\n".join(lines)


def pip_constraints(pins: Mapping[str, str]) -> str:
    """The lock's versions of Python packages as pip and uv read them. Pure."""
    names = [name.removeprefix("pip:") for name in pins if name.startswith("pip:")]
    return "".join(f"{name}=={pins[f'pip:{name}']}\n" for name in names)


def purge_script(paths: Sequence[str]) -> str:
    """Shell lines that remove paths. `*`, `?` and `[…]` work, nothing else is special. Pure."""
    return "".join(f"rm -rf -- {_glob(path)}\n" for path in paths)


def _glob(path: str) -> str:
    return "".join(part if _GLOB.fullmatch(part) else shlex.quote(part) for part in _GLOB.split(path) if part)
