"""The caller's global git configuration, as far as it means the same in a container: who commits, and how.

Only what is known to be harmless goes along: no program, no path of this machine, no signature, nothing that lets in
somewhere. A key that git invents tomorrow stays outside until somebody looked at it.
"""

from __future__ import annotations

import contextlib

from devbox.errors import CommandFailed, HostError
from devbox.host import programs

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
_OF_A_HOST = ("/", "~", "!", "%(prefix)")  # how a value begins that is a path or a program


def carried(workspace: str) -> str:
    """What a container's system-wide git configuration says of the caller; `workspace` is safe there."""
    listed = b""
    with contextlib.suppress(HostError, CommandFailed):  # no git, or nothing configured
        listed = programs.call(
            [programs.find("git"), "config", "--global", "--includes", "--list", "-z"], purpose="read git's settings"
        )
    return flatten(listed.decode(errors="replace"), workspace)


def flatten(listed: str, workspace: str) -> str:
    """A configuration file with what is harmless of `git config --list -z`. Pure."""
    settings = [entry.partition("\n") for entry in listed.split("\0") if entry]
    kept = [(key, value if given else "true") for key, given, value in settings if _is_harmless(key, value)]
    return "".join(_written(key, value) for key, value in (*kept, ("safe.directory", workspace)))


def _is_harmless(key: str, value: str) -> bool:
    section, _, name = key.partition(".")
    if "." in name and section not in ("branch", "color"):  # of one driver, tool or address, as diff.NAME.command
        return False
    if value.startswith(_OF_A_HOST) or key in _EXCEPT:
        return False
    return section in _SECTIONS or key in _KEYS


def _written(key: str, value: str) -> str:
    section, _, rest = key.partition(".")
    sub, dot, name = rest.rpartition(".")
    head = f'[{section} "{_escaped(sub)}"]' if dot else f"[{section}]"
    text = _escaped(value).replace("\n", "\\n").replace("\t", "\\t")
    return f'{head}\n\t{name} = "{text}"\n'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
