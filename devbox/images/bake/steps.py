"""Steps that run programs in a container over the layers below: packages and commands."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from devbox.errors import BakeFailed, HostError
from devbox.host import environ, host_settings
from devbox.host.paths import Paths
from devbox.images.bake import apt, bootstrap, installed, overlay
from devbox.images.bake.apt_cache import AptCache
from devbox.images.bake.output import JobOutput, Reader, parse_line
from devbox.images.store.documents import REPEATABLE_ENV
from devbox.isolation import sandbox
from devbox.isolation.network import bridge
from devbox.isolation.types import Bind, IdMap, ProcessSpec
from devbox.model.image import DEFAULT_PATH, Bootstrap, Files, Packages, Run

_ARCHIVES = "/var/cache/apt/archives"
_LISTS = "/var/lib/apt/lists"
_POLICY = "/usr/sbin/policy-rc.d"
_PINS = "/.devbox/pins"
_PREFERENCES = "/.devbox/preferences"
_DEBS = "/.devbox/debs"
_CONSTRAINTS = "/.devbox/constraints"
SHELL = ("/bin/sh", "-c", "if command -v bash >/dev/null; then exec bash; fi; exec sh")
_GLOB = re.compile(r"([*?\[\]]+)")

# Two runs: builds of a suite download one after the other and install in parallel. An https mirror is verified with the
# host's CAs: a minimal system has none. An unresponsive mirror or proxy fails the update early instead of leaving an
# empty list. Lists are kept as the signed index names them, not recompressed.
_GET = f"""
get() {{
    apt-get -q -y --no-install-recommends -o Acquire::https::CAInfo={host_settings.CA_TARGET} \\
        -o APT::Update::Error-Mode=any -o Acquire::Retries=2 \\
        -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 \\
        -o Acquire::GzipIndexes=false -o Dir::Etc::Preferences={_PREFERENCES} "$@"
}}
"""
_DOWNLOAD = f"""
get update || exit
lacking=$(cut -d' ' -f1 {_PINS} | xargs -r apt-cache madison | awk '
    FILENAME != "-" {{ wanted[$1] = $2; next }}
    !($1 in best) {{ best[$1] = $3 }}
    $1 in wanted && wanted[$1] == $3 {{ delete wanted[$1] }}
    END {{ for (name in wanted) print "{apt.UNAVAILABLE_MARKER}", name, wanted[name], best[name] }}' {_PINS} -)
[ -z "$lacking" ] || {{ echo "$lacking"; exit 1; }}
get --download-only install -- "$@" || exit
"""
_INSTALL = """
get install -- "$@" || exit
"""


class BuildSandbox:
    """Sandbox of a job's containers: their instance with its network, and the host settings that they receive.

    The instance is started by its first container, or ahead of time.
    """

    def __init__(self, paths: Paths, idmap: IdMap) -> None:
        self._paths = paths
        self._idmap = idmap
        self._subnet = bridge.find_free_subnet()
        self._instance: sandbox.SandboxInstance | None = None
        self.gateway = bridge.get_subnet_gateway(self._subnet)
        self.carry = host_settings.collect_settings(self.gateway)

    def ensure_instance(self, host_ports: tuple[int, ...] = ()) -> sandbox.SandboxInstance:
        """Return the instance; its containers reach these host ports in addition to those of the host settings."""
        desired = (*self.carry.ports, *host_ports)
        if self._instance is not None and not self._instance.host_ports.issuperset(desired):
            self.stop()
        if self._instance is None:
            work = sandbox.mount_scratch(self._paths.runtime)
            self._instance = sandbox.start_instance(
                self._idmap, work=work, network="egress", host_ports=desired, subnet=self._subnet
            )
        return self._instance

    def stop(self) -> None:
        """Stop the instance, when no more containers follow or one requires another instance."""
        if self._instance is not None:
            sandbox.stop_instance(self._instance)
            self._instance = None


class StepRunner:
    """Runs the steps of one job. `top`, on the store's disk, gets `upper/` with the changes."""

    def __init__(
        self,
        paths: Paths,
        sandbox: BuildSandbox,
        output: JobOutput,
        *,
        lowers: tuple[str, ...],
        place: str,
        project: str,
    ) -> None:
        self._paths = paths
        self._sandbox = sandbox
        self._output = output
        self._lowers = lowers
        self._place = place
        self._project = project
        self._last: Callable[..., int] | None = None  # runs another process like the step's last one
        self._env: dict[str, str] = {}

    @property
    def has_run(self) -> bool:
        """Whether a program of the step has run, so that there is a state to inspect."""
        return self._last is not None

    def run_shell(self, terminal: int) -> None:
        """Run a shell on a terminal in the step's state: its files, variables, mounts and network."""
        if self._last is None:
            return
        columns, rows = os.get_terminal_size(terminal)
        settings = self._env | {"TERM": environ.get("TERM", "dumb")}
        process = ProcessSpec(argv=SHELL, env=_format_env(settings), cwd="/", tty=True, rows=rows, columns=columns)
        self._last(process, streams=(terminal, terminal, terminal))

    def install_packages(self, step: Packages, base: Bootstrap | None) -> None:
        """Install packages and remove the paths that the step purges."""
        if base is None:
            raise BakeFailed("packages require a base of Debian or Ubuntu")
        cache = AptCache(self._paths, base)
        mirror, ports = host_settings.translate_loopback(bootstrap.build_local_sources(base), self._sandbox.gateway)
        pins = "".join(f"{name} {version}\n" for name, version in (step.pins or {}).items())
        sources = mirror
        if step.pins is not None:
            sources = self._build_locked_sources(step.pins, base, mirror=mirror, archives=cache.debs)
        binds = [
            self._bind_private_cache(cache.debs, _ARCHIVES),
            self._bind_private_cache(cache.lists, _LISTS),
            *([] if step.pins is None else [Bind(f"{self._place}/debs", _DEBS, read_only=True)]),
            self._bind_file("pins", _PINS, pins),
            self._bind_file("preferences", _PREFERENCES, installed.format_preferences(step.pins, step.prefer)),
            self._bind_file("policy-rc.d", _POLICY, "#!/bin/sh\nexit 101\n", mode=0o755),
            self._bind_file("sources.list", "/etc/apt/sources.list", sources),
        ]
        run = partial(
            self._run,
            env={"DEBIAN_FRONTEND": "noninteractive"},
            binds=binds,
            reader=apt.AptProgress().feed,
            host_ports=ports,
        )
        with cache.lock():
            code = run(["/bin/sh", "-c", _GET + _DOWNLOAD, "packages", *step.names])
            cache.store_downloads(
                lists=f"{self._place}/{_get_top_name(_LISTS)}/upper",
                archives=f"{self._place}/{_get_top_name(_ARCHIVES)}/upper",
                place=f"{self._place}/proof",
            )
        code = code or run(["/bin/sh", "-c", _GET + _INSTALL + build_purge_script(step.purge), "packages", *step.names])
        if code:
            if differing := apt.parse_unavailable(self._output.read_all()):
                raise installed.build_mismatch_error(differing)
            system = f"{base.distribution} {base.suite}"
            cause = apt.explain(self._output.read_all(), system=system)
            sentence = cause.sentence or f"cannot install {', '.join(step.names)} in {system}"
            kind = HostError if cause.of_host else BakeFailed
            raise kind(sentence, details=cause.evidence, remedy=cause.remedy)

    def _build_locked_sources(self, pins: dict[str, str], base: Bootstrap, *, mirror: str, archives: str) -> str:
        """Return the sources of locked packages: the cache, and the mirror if the cache is incomplete."""
        complete = installed.create_repository(archives, f"{self._place}/debs", pins, suite=base.suite)
        return installed.format_source(_DEBS) + ("" if complete else mirror)

    def run_commands(self, step: Run) -> None:
        """Run the commands in order; the first failure ends the step."""
        caches = {path: self._paths.command_cache(self._project, name) for name, path in sorted(step.caches.items())}
        binds = [self._bind_cache(source, path) for path, source in caches.items()]
        env = dict(step.env)
        if constraints := build_pip_constraints(step.pins or {}):
            binds.append(self._bind_file("constraints", _CONSTRAINTS, constraints))
            env |= {"PIP_CONSTRAINT": _CONSTRAINTS, "UV_CONSTRAINT": _CONSTRAINTS}
        code = self._run(["/bin/sh", "-c", build_run_script(step.commands)], env, binds, reader=parse_line)
        if code:
            raise BakeFailed(f"a command of the step exited with code {code}", details=self._output.read_tail())

    def _run(
        self,
        argv: Sequence[str],
        env: dict[str, str],
        binds: list[Bind],
        *,
        reader: Reader,
        host_ports: tuple[int, ...] = (),
    ) -> int:
        carried = self._sandbox.carry
        settings = {**carried.env, "PATH": DEFAULT_PATH, "HOME": "/root", "LANG": "C.UTF-8"}
        settings |= REPEATABLE_ENV | env
        if carried.ca_file:
            binds = [*binds, Bind(carried.ca_file, host_settings.CA_TARGET, read_only=True)]
        self._env = settings
        self._last = partial(
            sandbox.run,
            self._sandbox.ensure_instance(host_ports),
            lowers=self._lowers,
            top=f"{self._place}/top",
            binds=tuple(binds),
        )
        process = ProcessSpec(argv=tuple(argv), env=_format_env(settings), cwd="/")
        with self._output.pipe_lines(reader) as sink, open(os.devnull, "rb") as devnull:
            streams = (devnull.fileno(), sink, sink)
            return self._last(process, streams=streams)

    def _bind_cache(self, source: str, target: str) -> Bind:
        """Bind a cache directory of the store, owned by container root."""
        make_cache(source)
        return Bind(source, target, owner=0, group=0)

    def _bind_private_cache(self, source: str, target: str) -> Bind:
        """Bind a cache directory with its changes in this step's work directory."""
        return self._bind_cache(source, target)._replace(top=f"{self._place}/{_get_top_name(target)}")

    def _bind_file(self, name: str, target: str, text: str, *, mode: int = 0o644) -> Bind:
        """Bind a small file over one of the image."""
        path = f"{self._place}/{name}"
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(path, mode)
        return Bind(path, target, read_only=True)


def make_cache(path: str) -> None:
    """Create a cache; root's is closed to others, since containers may leave set-uid root files there.

    The container reaches it through its bind, without passing the parent directory.
    """
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        os.chmod(directory, 0o700)
    os.makedirs(path, exist_ok=True)


def _get_top_name(target: str) -> str:
    return f"top-{os.path.basename(target)}"


def _format_env(env: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in sorted(env.items()))


def build_run_script(commands: Sequence[str | tuple[str, ...]]) -> str:
    """Return a script of the commands: a string runs in its own shell, a list as is; each is printed first. Pure."""
    lines = []
    for command in commands:
        argv = ("/bin/sh", "-c", command) if isinstance(command, str) else command
        shown = command if isinstance(command, str) else shlex.join(command)
        lines.append(f"printf '%s\\n' {shlex.quote(f'+ {shown}')}; {shlex.join(argv)} || exit")
    return "\n".join(lines)


def build_pip_constraints(pins: Mapping[str, str]) -> str:
    """Return the lock's Python package versions as constraints of pip and uv. Pure."""
    names = [name.removeprefix("pip:") for name in pins if name.startswith("pip:")]
    return "".join(f"{name}=={pins[f'pip:{name}']}\n" for name in names)


def build_purge_script(paths: Sequence[str]) -> str:
    """Return shell lines that remove paths; only `*`, `?` and `[…]` are special. Pure."""
    return "".join(f"rm -rf -- {_quote_glob(path)}\n" for path in paths)


def _quote_glob(path: str) -> str:
    return "".join(part if _GLOB.fullmatch(part) else shlex.quote(part) for part in _GLOB.split(path) if part)


DEFAULT_MODE = 0o644


def write_files(step: Files, *, lowers: tuple[str, ...], place: str, rootless: bool) -> str:
    """Write the files; return the directory with the changes. The caller is root of the store."""

    def write() -> None:
        for path in sorted(step.contents):
            _write(path, step.contents[path], step.modes.get(path, DEFAULT_MODE))

    return overlay.run_in_overlay(write, lowers=lowers, place=place, rootless=rootless)


def _write(path: str, text: str, mode: int) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    _make_room(os.path.realpath(path))
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
        os.fchmod(out.fileno(), mode)


def _make_room(path: str) -> None:
    """Remove a special file: opening a FIFO for writing would block."""
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        os.unlink(path)


_HOST_KEY = "ssl-cert-snakeoil.pem"
_GENERATED = re.compile(
    "|".join(
        (
            r"etc/ssl/private/ssl-cert-snakeoil\.key",  # ssl-cert, used by postgresql and others
            rf"etc/ssl/certs/{re.escape(_HOST_KEY)}",
            r"etc/ssh/ssh_host_[a-z0-9]+_key(\.pub)?",  # openssh-server
            r"etc/dropbear/dropbear_[a-z0-9]+_host_key(\.pub)?",
            r"etc/bind/rndc\.key",  # bind9
            r"etc/unbound/unbound_(control|server)\.(key|pem)",
            r"(etc|var/lib)/postgresql/[0-9.]+/main",
            r"var/lib/mysql/[^/]+",  # mariadb-server, mysql-server
        )
    )
)


def is_generated(tree: str, path: str) -> bool:
    """Return whether a path (relative to `tree`, no leading slash) changed by a package step is host-specific."""
    if _GENERATED.fullmatch(path):
        return True
    link = f"{tree}/{path}"  # the certificate's hash link, which depends on the host name
    return path.startswith("etc/ssl/certs/") and os.path.islink(link) and os.readlink(link) == _HOST_KEY
