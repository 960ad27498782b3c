"""A base's first layer: a minimal Debian or Ubuntu, made by mmdebstrap from the distribution's own packages."""

from __future__ import annotations

import os
import re
import shlex

from devbox.errors import BakeFailed, HostError
from devbox.host import carry, environ, process
from devbox.images import apt, debs, mirrors
from devbox.images.epoch import SOURCE_DATE_EPOCH
from devbox.images.output import Output
from devbox.model.image import Bootstrap

# Left out of every package, now and in later steps (the image keeps them in /etc/dpkg/dpkg.cfg.d): what nobody reads
# in a container. Licences stay.
_DPKG_OPTIONS = (
    "path-exclude=/usr/share/man/*/*",  # not its directories: old versions of dash link a page there
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/lintian/*",
    "path-include=/usr/share/doc/*/copyright",
    "force-unsafe-io",
)
# Suites that install usrmerge, and all of Perl with it, unless /usr is merged from the start.
_MERGE_FIRST = ("bookworm",)
_NAME = re.compile(r"[a-z0-9][a-z0-9+./-]*")
_MERGE_HOOKS = "/usr/share/mmdebstrap/hooks/maybe-merged-usr"
# The host's authorities, for an https mirror: in apt's settings of this run, and not in those of the image.
_TRUST = """--setup-hook=printf 'Acquire::https::CAInfo "%s";\\n' {} >> "$MMDEBSTRAP_APT_CONFIG"; :"""
# The lock's versions, in the same place.
_PREFER = """--setup-hook=printf 'Dir::Etc::Preferences "%s";\\n' {} >> "$MMDEBSTRAP_APT_CONFIG"; :"""
# Downloaded packages stay where they are until the cache has them.
_KEPT = ("essential/unlink", "cleanup/apt/cache")
_APT_OPTIONS = ('Acquire::Languages "none"', 'Acquire::Retries "3"')


def bootstrap(step: Bootstrap, tree: str, output: Output, *, archives: str) -> None:
    """Make the root file system in the empty directory `tree`; its packages go to and may come from `archives`.

    The caller is root of the store.
    """
    check(step)
    mirrors.require_keyring(step.distribution)
    program = process.find("mmdebstrap")
    sources = f"{tree}.sources"
    with open(sources, "w", encoding="ascii") as listing:
        listing.write(_sources(step, f"{tree}.debs", archives))
    with open(f"{tree}.preferences", "w", encoding="utf-8") as preferences:
        preferences.write(debs.preferences(step.pins, step.prefer))
    code = _run(argv(step, tree, program=program, ca_file=carry.ca_file()), sources, output)
    if code:
        system = f"{step.distribution} {step.suite}"
        cause = apt.explain(output.all(), system=system)
        sentence = cause.sentence or f"mmdebstrap could not make {system}"
        kind = HostError if cause.of_host else BakeFailed
        raise kind(sentence, details=cause.evidence, remedy=cause.remedy)
    debs.keep(tree, archives)
    with open(f"{tree}/etc/apt/sources.list", "w", encoding="ascii") as listing:
        listing.write(mirrors.canonical_sources(step))


def _sources(step: Bootstrap, place: str, archives: str) -> str:
    """Where the packages come from: locked ones out of the cache, and the mirror for what is not in it."""
    if step.pins is None:
        return mirrors.local_sources(step)
    complete = debs.offer(archives, place, step.pins, suite=step.suite)
    return debs.source(place, method="copy") + ("" if complete else mirrors.local_sources(step))


def check(step: Bootstrap) -> None:
    """Refuse words that mmdebstrap or a sources list could take for more than a name: it runs outside of containers."""
    for word in (step.suite, *step.components, *step.packages):
        if not _NAME.fullmatch(word):
            raise BakeFailed(f"{word!r} is not the name of a suite, a component or a package")


def argv(step: Bootstrap, tree: str, *, program: str, ca_file: str = "") -> list[str]:
    """The mmdebstrap call. Its sources come on stdin. Pure."""
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


def _run(command: list[str], sources: str, output: Output) -> int:
    env = {**environ.snapshot(), "SOURCE_DATE_EPOCH": str(SOURCE_DATE_EPOCH), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    env["TMPDIR"] = os.path.dirname(sources)  # where what a killed bake leaves is swept
    stdin = os.open(sources, os.O_RDONLY)
    try:
        with output.lines(apt.AptProgress().feed) as sink:
            return process.spawn(command, stdin=stdin, stdout=sink, stderr=sink, env=env).wait()
    finally:
        os.close(stdin)
