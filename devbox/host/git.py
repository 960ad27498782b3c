"""The portable part of the caller's global git configuration: identity, preferences, signing.

Only known harmless settings are passed on: no programs, no host paths, no credentials. Unknown future keys are excluded
until reviewed. Signatures are made by the caller's SSH agent, if reachable; only the public half of the key is passed
on.

git is run in / and only for the caller's own files: it never reads a project, whose configuration containers can write.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from devbox.errors import CommandFailed, HostError
from devbox.host import environ, programs, safe_files
from devbox.host.repository import files, layout

Setting = tuple[str, str]  # as in ("user.name", "Ann")


class GitSetting(NamedTuple):
    """A setting and the file that contains it."""

    key: str
    value: str
    file: str


_LIST = ("--list", "--show-scope", "--show-origin", "--no-includes", "-z")
_INCLUDE = ("include", "includeif")
_NESTED = 10  # levels of includes

_SECTIONS = (
    "alias",
    "author",
    "branch",
    "color",
    "column",
    "committer",
    "diff",
    "fetch",
    "merge",
    "pull",
    "push",
    "rebase",
)
_KEYS = (
    *("user.name", "user.email", "user.useconfigonly", "init.defaultbranch", "commit.cleanup", "commit.verbose"),
    *("core.abbrev", "core.autocrlf", "core.commentchar", "core.eol", "core.quotepath", "core.safecrlf"),
    *("core.whitespace", "log.date", "rerere.enabled", "rerere.autoupdate", "status.short", "status.branch"),
    *("status.showuntrackedfiles", "tag.sort"),
)
_EXCEPT = ("diff.external", "fetch.bundleuri", "push.gpgsign")
_OF_A_HOST = ("/", "~", "!", "%(prefix)")  # prefixes of values that are a path or a program
_SIGN = ("commit.gpgsign", "tag.gpgsign")
_PUBLIC = re.compile(r"(?:key::)?((?:ssh|ecdsa|sk)-[\w@.-]+ [A-Za-z0-9+/=]+)(?: [^\n]*)?\n?")
_LONGEST = 16384


def read_caller_settings(root: str) -> tuple[Setting, ...]:
    """Return the settings of the caller's own files for this project; () without git.

    Included files apply if their condition holds, which may be about the repository's location (`gitdir`) and branch
    (`onbranch`), but not about its remotes (`hasconfig`).
    """
    return tuple(_expand_includes(_query_settings(("global",)), root, 0))


def read_excludes() -> bytes:
    """Return the ignore patterns that the caller or the host sets for all repositories."""
    settings = {each.key: each.value for each in _query_settings(("system", "global"))}
    home = environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    with contextlib.suppress(OSError):
        return safe_files.read("/", os.path.expanduser(settings.get("core.excludesfile", f"{home}/git/ignore")))
    return b""


def parse_settings(listed: str, *scopes: str) -> list[GitSetting]:
    """Parse the settings of `git config --list --show-scope --show-origin -z`. A key without value is true. Pure."""
    words = listed.split("\0")
    found = []
    for scope, origin, text in zip(words[::3], words[1::3], words[2::3], strict=False):
        key, given, value = text.partition("\n")
        if scope in scopes:
            found.append(GitSetting(key, value if given else "true", origin.removeprefix("file:")))
    return found


def _expand_includes(settings: Iterable[GitSetting], root: str, depth: int) -> Iterator[Setting]:
    """Yield the settings with includes replaced by the included file's settings."""
    for key, value, file in settings:
        section, _, condition = key.removesuffix(".path").partition(".")
        if section not in _INCLUDE or not key.endswith(".path"):
            yield key, value
            continue
        path = os.path.join(os.path.dirname(file), os.path.expanduser(value))
        if depth < _NESTED and (section == "include" or _is_met(condition, os.path.dirname(file), root)):
            with contextlib.suppress(OSError):
                inner = _query_settings(("command",), "--file", "-", text=safe_files.read("/", path))
                yield from _expand_includes((each._replace(file=path) for each in inner), root, depth + 1)


def _is_met(condition: str, directory: str, root: str) -> bool:
    """Return whether the condition of an include, in a file of this directory, holds for a project."""
    kind, _, pattern = condition.partition(":")
    found = layout.find_repository(root)
    if found is None:
        return False
    if kind == "onbranch":
        branch = layout.read_branch(found) or ""
        pattern = f"{pattern}**" if pattern.endswith("/") else pattern
        return files.match_parts(files.decode_raw(pattern).split("/"), files.decode_raw(branch).split("/"))
    if kind not in ("gitdir", "gitdir/i"):
        return False
    pattern = os.path.expanduser(pattern)
    pattern = f"{directory}{pattern[1:]}" if pattern.startswith("./") else pattern
    pattern = pattern if pattern.startswith("/") else f"**/{pattern}"
    pattern = f"{pattern}**" if pattern.endswith("/") else pattern
    place = os.path.join(found.own.root, found.own.inner).rstrip("/")
    if kind == "gitdir/i":
        pattern, place = pattern.lower(), place.lower()
    return files.match_parts(files.decode_raw(pattern).split("/"), files.decode_raw(place).split("/"))


def _query_settings(scopes: tuple[str, ...], *where: str, text: bytes = b"") -> list[GitSetting]:
    """Return settings as git reads them, in / and outside any repository."""
    with contextlib.suppress(HostError, CommandFailed):
        argv = [programs.find("git"), "--git-dir=/dev/null", "-C", "/", "config", *where, *_LIST]
        return parse_settings(os.fsdecode(programs.call(argv, purpose="read git's settings", text=text)), *scopes)
    return []


def flatten(settings: Iterable[Setting], workspace: str, *, signs: bool) -> str:
    """Build a system-wide configuration file for a container with the project at `workspace`.

    `signs`: the container has git's program for SSH signatures. Other worktrees of the repository are invisible there,
    and must not be pruned.
    """
    known = tuple(settings)
    kept = [setting for setting in known if _is_harmless(*setting)]
    own = (("safe.directory", workspace), ("gc.worktreePruneExpire", "never"))
    return "".join(_format_setting(*setting) for setting in (*kept, *(_select_signing(known) if signs else ()), *own))


def _select_signing(settings: tuple[Setting, ...]) -> Iterator[Setting]:
    """Yield the signing settings if only the agent is needed: for an SSH key with a known public half."""
    last = dict(settings)
    public = _find_public_key(last.get("user.signingkey", "")) if last.get("gpg.format") == "ssh" else ""
    if public:
        yield ("gpg.format", "ssh")
        yield ("user.signingkey", f"key::{public}")
        yield from ((key, last[key]) for key in _SIGN if key in last)


def _find_public_key(named: str) -> str:
    """Return the public key in `user.signingKey`, in the file it names or next to it; "" if there is none."""
    path = os.path.expanduser(named)
    texts = [named] if not os.path.isabs(path) else [_read_head(path), _read_head(f"{path}.pub")]
    return next((match[1] for text in texts if (match := _PUBLIC.fullmatch(text))), "")


def _read_head(path: str) -> str:
    try:
        with open(path, encoding="ascii") as source:
            return source.read(_LONGEST)
    except (OSError, ValueError):
        return ""


def _is_harmless(key: str, value: str) -> bool:
    section, _, name = key.partition(".")
    if "." in name and section not in ("branch", "color"):  # of one driver, tool or address, such as diff.NAME.command
        return False
    if value.startswith(_OF_A_HOST) or key in _EXCEPT:
        return False
    return section in _SECTIONS or key in _KEYS


def _format_setting(key: str, value: str) -> str:
    section, _, rest = key.partition(".")
    sub, dot, name = rest.rpartition(".")
    head = f'[{section} "{_escape(sub)}"]' if dot else f"[{section}]"
    text = _escape(value).replace("\n", "\\n").replace("\t", "\\t")
    return f'{head}\n\t{name} = "{text}"\n'


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
