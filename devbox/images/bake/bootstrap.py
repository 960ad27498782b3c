"""Base layer: a minimal Debian or Ubuntu, built by mmdebstrap from the distribution's own packages."""

from __future__ import annotations

import os
import platform
import re
import shlex

from devbox.errors import BakeFailed, HostError
from devbox.host import environ, host_settings, mounts, process
from devbox.images.bake import apt, installed
from devbox.images.bake.output import JobOutput
from devbox.images.store.documents import SOURCE_DATE_EPOCH
from devbox.images.store.manifest import get_architecture
from devbox.isolation import syscalls
from devbox.model.image import Bootstrap

KEYRINGS = {
    "debian": ("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
    "ubuntu": ("/usr/share/keyrings/ubuntu-archive-keyring.gpg", "ubuntu-keyring"),
}
_OTHER_NAMES = {("bookworm", "ubuntu-keyring"): "ubuntu-archive-keyring"}  # host's release, package → its name there
_ROLLING = ("sid", "unstable", "experimental")


def build_canonical_sources(base: Bootstrap) -> str:
    """Return the image's own /etc/apt/sources.list: the release, its updates and its security fixes."""
    return _format_sources(base, _get_canonical_mirror(base.distribution), _get_security_mirror(base.distribution))


def build_local_sources(base: Bootstrap) -> str:
    """Return the sources by the host's mirrors: `DEVBOX_MIRROR_DEBIAN`, `…_DEBIAN_SECURITY`, `DEVBOX_MIRROR_UBUNTU`."""
    mirror = find_mirror(base.distribution)
    if mirror == _get_canonical_mirror(base.distribution):
        return build_canonical_sources(base)
    security_mirror = f"{mirror}-security" if base.distribution == "debian" else mirror
    return _format_sources(
        base, mirror, environ.get(f"{get_mirror_variable(base.distribution)}_SECURITY", security_mirror)
    )


def find_mirror(distribution: str) -> str:
    """Return the host's mirror for a distribution: from its setting, else the canonical archive."""
    return environ.get(get_mirror_variable(distribution)).rstrip("/") or _get_canonical_mirror(distribution)


def get_mirror_variable(distribution: str) -> str:
    """Return the environment variable for a distribution's mirror."""
    return f"DEVBOX_MIRROR_{distribution.upper()}"


def require_keyring(distribution: str) -> str:
    """Return the keyring of a distribution; raise HostError if the host does not have it."""
    path, package = _find_keyring(distribution)
    if not os.path.exists(path):
        package = _OTHER_NAMES.get((_get_host_release(), package), package)
        raise HostError(f"missing keys to verify packages of {distribution}", remedy=f"sudo apt-get install {package}")
    return path


def _get_host_release() -> str:
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        return ""


def _format_sources(base: Bootstrap, mirror: str, security: str) -> str:
    keyring, _ = _find_keyring(base.distribution)
    places = [(mirror, base.suite)]
    if base.suite not in _ROLLING:
        places += [(mirror, f"{base.suite}-updates"), (security, f"{base.suite}-security")]
    components = " ".join(base.components)
    return "".join(f"deb [signed-by={keyring}] {url} {suite} {components}\n" for url, suite in places)


def _find_keyring(distribution: str) -> tuple[str, str]:
    try:
        return KEYRINGS[distribution]
    except KeyError:
        raise BakeFailed(f"unsupported distribution {distribution}: expected one of {', '.join(KEYRINGS)}") from None


def _get_canonical_mirror(distribution: str) -> str:
    if distribution == "debian":
        return "http://deb.debian.org/debian"
    return (
        "http://archive.ubuntu.com/ubuntu" if get_architecture() == "amd64" else "http://ports.ubuntu.com/ubuntu-ports"
    )


def _get_security_mirror(distribution: str) -> str:
    return "http://deb.debian.org/debian-security" if distribution == "debian" else _get_canonical_mirror(distribution)


# Excluded from all packages, now and in later steps (the image keeps these options in /etc/dpkg/dpkg.cfg.d): not needed
# in a container. Licences stay.
_DPKG_OPTIONS = (
    "path-exclude=/usr/share/man/*/*",  # not the directories: old versions of dash create a link there
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/lintian/*",
    "path-include=/usr/share/doc/*/copyright",
    "force-unsafe-io",
)
# Suites that install usrmerge, with all of Perl, unless /usr is merged from the start.
_MERGE_FIRST = ("bookworm",)
_NAME = re.compile(r"[a-z0-9][a-z0-9+./-]*")
_MERGE_HOOKS = "/usr/share/mmdebstrap/hooks/maybe-merged-usr"
# The host's CAs, for an https mirror: in this run's apt settings, not in the image's.
_TRUST = """--setup-hook=printf 'Acquire::https::CAInfo "%s";\\n' {} >> "$MMDEBSTRAP_APT_CONFIG"; :"""
# The lock's versions, in the same file.
_PREFER = """--setup-hook=printf 'Dir::Etc::Preferences "%s";\\n' {} >> "$MMDEBSTRAP_APT_CONFIG"; :"""
# Downloaded packages are kept until they are cached.
_KEPT = ("essential/unlink", "cleanup/apt/cache")
_APT_OPTIONS = ('Acquire::Languages "none"', 'Acquire::Retries "3"')


def bootstrap(step: Bootstrap, tree: str, output: JobOutput, *, archives: str) -> None:
    """Create the root file system in the empty directory `tree`; `archives` is the package cache.

    The caller is root of the store.
    """
    check_names(step)
    require_keyring(step.distribution)
    program = process.find("mmdebstrap")
    sources = f"{tree}.sources"
    with open(sources, "w", encoding="ascii") as listing:
        listing.write(_build_sources(step, f"{tree}.debs", archives))
    with open(f"{tree}.preferences", "w", encoding="utf-8") as preferences:
        preferences.write(installed.format_preferences(step.pins, step.prefer))
    code = _run(build_argv(step, tree, program=program, ca_file=host_settings.find_ca_file()), sources, output)
    detach_mounts(tree)
    if code:
        system = f"{step.distribution} {step.suite}"
        cause = apt.explain(output.read_all(), system=system)
        sentence = cause.sentence or f"mmdebstrap cannot create {system}"
        kind = HostError if cause.of_host else BakeFailed
        raise kind(sentence, details=cause.evidence, remedy=cause.remedy)
    installed.store_archives(tree, archives)
    with open(f"{tree}/etc/apt/sources.list", "w", encoding="ascii") as listing:
        listing.write(build_canonical_sources(step))


def detach_mounts(tree: str) -> None:
    """Unmount everything below `tree` in this mount namespace.

    mmdebstrap mounts the host's devices there, and only warns if it cannot unmount one.
    """
    above = f"{os.path.realpath(tree)}/"
    inner = [mount.point for mount in mounts.list_mounts() if mount.point.startswith(above)]
    for point in reversed(inner):
        syscalls.detach(point)


def _build_sources(step: Bootstrap, place: str, archives: str) -> str:
    """Return the package sources: the cache for locked packages, and the mirror if the cache is incomplete."""
    if step.pins is None:
        return build_local_sources(step)
    complete = installed.create_repository(archives, place, step.pins, suite=step.suite)
    return installed.format_source(place, method="copy") + ("" if complete else build_local_sources(step))


def check_names(step: Bootstrap) -> None:
    """Refuse words with a special meaning to mmdebstrap, which runs outside containers, or in a sources list."""
    for word in (step.suite, *step.components, *step.packages):
        if not _NAME.fullmatch(word):
            raise BakeFailed(f"invalid name {word!r}: expected a suite, component or package")


def build_argv(step: Bootstrap, tree: str, *, program: str, ca_file: str = "") -> list[str]:
    """Build the mmdebstrap call. Its sources are passed on stdin. Pure."""
    apt_options = [*_APT_OPTIONS]
    if not step.check_valid_until:
        apt_options.append('Acquire::Check-Valid-Until "false"')
    return [
        program,
        "--verbose",
        "--mode=root",
        "--variant=minbase",
        "--format=directory",
        *([f"--hook-dir={_MERGE_HOOKS}"] if step.suite in _MERGE_FIRST else []),
        *(f"--dpkgopt={option}" for option in _DPKG_OPTIONS),
        *(f"--aptopt={option}" for option in apt_options),
        *([_TRUST.format(shlex.quote(ca_file))] if ca_file else []),
        _PREFER.format(shlex.quote(f"{tree}.preferences")),
        *(f"--skip={what}" for what in _KEPT),
        *([f"--include={','.join(step.packages)}"] if step.packages else []),
        step.suite,
        tree,
        "-",
    ]


def _run(command: list[str], sources: str, output: JobOutput) -> int:
    env = {**environ.copy_environment(), "SOURCE_DATE_EPOCH": str(SOURCE_DATE_EPOCH), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    env["TMPDIR"] = os.path.dirname(sources)  # leftovers of a killed build are swept there
    stdin = os.open(sources, os.O_RDONLY)
    try:
        with output.pipe_lines(apt.AptProgress().feed) as sink:
            return process.spawn(command, stdin=stdin, stdout=sink, stderr=sink, env=env).wait()
    finally:
        os.close(stdin)


_OS_RELEASE = "usr/lib/os-release"
_LONGEST_OS_RELEASE = 1 << 16
_OS_RELEASE_LINE = re.compile(r'^(\w+)="?([\w.-]*)"?$', re.MULTILINE)


def detect_system(lowers: tuple[str, ...]) -> Bootstrap | None:
    """Return the distribution and suite of the image over `lowers`; None if unknown to devbox."""
    for lower in lowers:
        path = os.path.realpath(f"{lower}/{_OS_RELEASE}")
        if path.startswith(f"{lower}/") and os.path.isfile(path):  # links of the image must not escape
            with open(path, encoding="utf-8", errors="replace") as source:
                facts = dict(_OS_RELEASE_LINE.findall(source.read(_LONGEST_OS_RELEASE)))
            distribution, suite = facts.get("ID", ""), facts.get("VERSION_CODENAME", "")
            return Bootstrap(distribution=distribution, suite=suite) if distribution in KEYRINGS and suite else None
    return None
