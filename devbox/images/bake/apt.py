"""Parsing of apt-get and mmdebstrap output: progress and error causes."""

from __future__ import annotations

import re
from typing import NamedTuple

_UNITS = {"B": 1, "kB": 1000, "MB": 1000_000, "GB": 1000_000_000}
_SIZE = r"([\d.,]+) ?(B|kB|MB|GB)"
_TO_GET = re.compile(rf"(?:Need to get|Download size:) {_SIZE}")
_GOT = re.compile(rf"Get:\d+ (?P<from>\S+) (?P<what>.*) \[{_SIZE}\]$")
_COUNT = re.compile(r"(\d+) newly installed")
_PHASE = re.compile(r"I: (.+)\.\.\.$")
_INSTALLING = re.compile(r"(Unpacking|Setting up) (\S+)")
_UNKNOWN = re.compile(r"(?:Unable to locate package|Package '?([^' ]+)'? has no installation candidate) ?(\S*)")
_UNREACHABLE = re.compile(
    r"Temporary failure resolving|Could not resolve|Could not connect|Failed to fetch|Unable to connect|connect \(\d"
)
# apt's messages about lists and packages that do not match their signature or the signed list.
_FORGED = re.compile(
    r"BADSIG|EXPKEYSIG|REVKEYSIG|NO_PUBKEY|signatures? (?:were|was|is|couldn't be) (?:invalid|verified)|is not signed"
    r"|OpenPGP signature verification failed|Bad OpenPGP signature|Clearsigned file isn't valid|can't be authenticated"
    r"|cannot be authenticated",
    re.IGNORECASE,
)
_ALTERED = re.compile(r"Hash ?[Ss]um mismatch|File has unexpected size|Size mismatch|has unexpected (?:size|hash)")
_OTHER = "export DEVBOX_MIRROR_DEBIAN=URL (or _UBUNTU)"
_OF_URL = re.compile(r"(?:Failed to fetch|The repository '|Err:\d+) ?(\S+?)[' ]")
_MISSING = re.compile(r"Failed to fetch (\S+)\s+404|^Err:\d+ (\S+) .*\n\s+404 ", re.MULTILINE)
_NO_RELEASE = re.compile(r"The repository '(\S+) (\S+) \S+' does not have a Release file")
_BROKEN = re.compile(r"^dpkg: error processing (?:package|archive) (\S+).*", re.MULTILINE)
_FULL = "No space left on device"
_UNTRUSTED = re.compile(r"certificate verif\w+ failed|certificate is NOT trusted", re.IGNORECASE)
_EVIDENCE = 8

# Marker of the build script for a locked package without a source: name, locked version, available version.
UNAVAILABLE_MARKER = "devbox-lacks"
_UNAVAILABLE = re.compile(rf"^{UNAVAILABLE_MARKER} (\S+) (\S+) ?(\S*)$", re.MULTILINE)


class Tick(NamedTuple):
    """Progress of a step. Sizes in bytes; None if unknown."""

    text: str
    fraction: float | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None


class AptProgress:
    """Tracks the progress of one apt-get or mmdebstrap run."""

    def __init__(self) -> None:
        self._total: int | None = None
        self._done = 0
        self._packages = 0
        self._installed = 0

    def feed(self, line: str) -> Tick | None:
        """Return the progress reported by a line, or None."""
        if match := _TO_GET.match(line):
            self._total, self._done = _parse_bytes(match[1], match[2]), 0
            return Tick("downloading packages", 0.0, 0, self._total)
        if match := _GOT.match(line):
            return self._on_download(match)
        if match := _PHASE.match(line):
            return Tick(match[1])
        if match := _COUNT.search(line):
            self._packages, self._installed = int(match[1]), 0
        elif match := _INSTALLING.match(line):
            return self._on_install(match)
        return None

    def _on_download(self, match: re.Match[str]) -> Tick:
        self._done += _parse_bytes(match[3], match[4])
        if self._total is None:
            return Tick("downloading package lists", None, self._done, None)
        name = next(iter(match["what"].split()[2:]), match["what"])  # "trixie/main amd64 NAME amd64 VERSION"
        done = min(self._done, self._total)
        return Tick(f"downloading {name}", done / (self._total or 1), done, self._total)

    def _on_install(self, match: re.Match[str]) -> Tick:
        self._installed += 1
        verb = "unpacking" if match[1] == "Unpacking" else "setting up"
        steps = 2 * self._packages
        fraction = min(1.0, self._installed / steps) if steps else None
        return Tick(f"{verb} {match[2].removesuffix(':amd64')}", fraction)


def _parse_bytes(number: str, unit: str) -> int:
    return int(float(number.replace(",", "")) * _UNITS[unit])


class Cause(NamedTuple):
    """The cause of a failed run; sentence and remedy are "" if unknown. `evidence` are lines of its output.

    `of_host`: the host or its network is to blame, not the env file.
    """

    sentence: str
    remedy: str
    evidence: str
    of_host: bool = False


def explain(output: str, *, system: str) -> Cause:
    """Return the cause of a failed run from its output. `system` names the distribution for the message."""
    lines = output.splitlines()
    if _FULL in output:  # first: with a full disk apt also reports missing or altered lists
        sentence = f"the disk is full: the packages of {system} do not fit"
        return Cause(sentence, "free disk space (df -h), or export DEVBOX_HOME=DIR of another disk", "", of_host=True)
    if found := _explain_content(output, lines, system):  # before unknown packages, which a refused list causes
        return found
    if match := _UNKNOWN.search(output):
        name = match[1] or match[2]
        return Cause(
            f"package {name} not found in {system}", f"search for its name: {_build_search_url(system, name)}", ""
        )
    if found := _explain_network(output, lines, system):
        return found
    if match := _BROKEN.search(output):
        end = output.count("\n", 0, match.end()) + 2  # dpkg gives its reason on the next line
        shown = "\n".join(lines[max(0, end - _EVIDENCE) : end])
        return Cause(f"cannot install package {match[1]} of {system}", "", shown)
    return Cause("", "", "\n".join(lines[-_EVIDENCE:]))


def _explain_content(output: str, lines: list[str], system: str) -> Cause | None:
    """Explain content that a mirror delivered: forged, altered or missing. None for other causes."""
    if match := _FORGED.search(output) or _ALTERED.search(output):
        what = "a package list" if match.re is _FORGED else "a package or a list"
        against = "its signature" if match.re is _FORGED else "the hash in the signed list"
        shown = "\n".join(line for line in lines if match.re.search(line))
        place = _format_host(output)
        return Cause(
            f"{what} of {system}{place} does not match {against}: forged or damaged in transit, nothing was installed",
            f"try again; if it fails again, use another mirror or proxy: {_OTHER}",
            shown,
            of_host=True,
        )
    if match := _NO_RELEASE.search(output):
        sentence = f"suite {match[2]} not found on the mirror {match[1]}"
        return Cause(sentence, f"check the spelling, or use another mirror: {_OTHER}", "")
    if match := _MISSING.search(output):
        name = (match[1] or match[2]).rpartition("/")[2].partition("_")[0]
        sentence = f"not found on the mirror of {system}: {name}"
        remedy = f"the mirror and its package list are out of sync: try again later, or use another mirror: {_OTHER}"
        return Cause(sentence, remedy, match[0].strip(), of_host=True)
    return None


def _explain_network(output: str, lines: list[str], system: str) -> Cause | None:
    """Explain an unreachable mirror. None for other causes."""
    if _UNTRUSTED.search(output):
        return Cause(
            f"untrusted certificate of the package mirror of {system}, or of a proxy",
            "export DEVBOX_CA_FILE=FILE with the authority that signed it; for details: devbox docs proxies-and-cas",
            "",
            of_host=True,
        )
    if _UNREACHABLE.search(output):
        remedy = (
            "find the cause with devbox doctor, or use another mirror: export DEVBOX_MIRROR_DEBIAN=URL (or _UBUNTU)"
        )
        shown = "\n".join(line for line in lines if _UNREACHABLE.search(line) and line.startswith("E:"))
        return Cause(f"cannot reach the package mirror of {system}", remedy, shown, of_host=True)
    return None


def _format_host(output: str) -> str:
    """Return the mirror's host as a clause; "" if apt does not report it."""
    match = _OF_URL.search(output)
    return f", from {match[1].split('/')[2]}," if match and match[1].count("/") > 1 else ""


def parse_unavailable(output: str) -> dict[str, tuple[str, str]]:
    """Return the unavailable locked packages, each with its locked and its available version."""
    return {name: (locked, offered) for name, locked, offered in _UNAVAILABLE.findall(output)}


def _build_search_url(system: str, name: str) -> str:
    """Return the URL of the distribution's package search for a name."""
    distribution, _, suite = system.partition(" ")
    site = f"https://packages.{distribution}.{'org' if distribution == 'debian' else 'com'}"
    return f"{site}/search?suite={suite}&keywords={name}"
