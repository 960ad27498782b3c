"""The caller's global git configuration, as far as it means the same in a container: who commits, how, signed by whom.

Only what is known to be harmless goes along: no program, no path of this machine, nothing that lets in somewhere. A key
that git invents tomorrow stays outside until somebody looked at it. Signatures are made by the caller's SSH agent, as
far as it is reached; of the key only its public half is told.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator

from devbox.errors import CommandFailed, HostError
from devbox.host import programs

Setting = tuple[str, str]  # as in ("user.name", "Ann")

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
_SIGN = ("commit.gpgsign", "tag.gpgsign")
_PUBLIC = re.compile(r"(?:key::)?((?:ssh|ecdsa|sk)-[\w@.-]+ [A-Za-z0-9+/=]+)(?: [^\n]*)?\n?")
_LONGEST = 16384


def of_caller(root: str) -> tuple[Setting, ...]:
    """What the caller's own files say in this project, conditional includes considered; () without git."""
    listed = b""
    with contextlib.suppress(HostError, CommandFailed):
        argv = [programs.find("git"), "-C", root, "config", "--list", "--show-scope", "--includes", "-z"]
        listed = programs.call(argv, purpose="read git's settings")
    return listed_settings(os.fsdecode(listed))


def listed_settings(listed: str) -> tuple[Setting, ...]:
    """The global settings of `git config --list --show-scope -z`. A key without a value is true. Pure."""
    words = listed.split("\0")
    entries = [text.partition("\n") for scope, text in zip(words[::2], words[1::2], strict=False) if scope == "global"]
    return tuple((key, value if given else "true") for key, given, value in entries)


def flatten(settings: Iterable[Setting], workspace: str, *, signs: bool) -> str:
    """A system-wide configuration file for a container that has the project at `workspace`.

    `signs`: it has what git makes SSH signatures with. Other worktrees of the repository can't be seen in there, and
    must not be taken for gone.
    """
    known = tuple(settings)
    kept = [setting for setting in known if _is_harmless(*setting)]
    own = (("safe.directory", workspace), ("gc.worktreePruneExpire", "never"))
    return "".join(_written(*setting) for setting in (*kept, *(_signing(known) if signs else ()), *own))


def _signing(settings: tuple[Setting, ...]) -> Iterator[Setting]:
    """How commits are signed, where that takes but the agent: by an SSH key whose public half can be told."""
    last = dict(settings)
    public = _public_key(last.get("user.signingkey", "")) if last.get("gpg.format") == "ssh" else ""
    if public:
        yield ("gpg.format", "ssh")
        yield ("user.signingkey", f"key::{public}")
        yield from ((key, last[key]) for key in _SIGN if key in last)


def _public_key(named: str) -> str:
    """The public key that `user.signingKey` says, or that lies in the file it names or beside it; "" for none."""
    path = os.path.expanduser(named)
    texts = [named] if not os.path.isabs(path) else [_head(path), _head(f"{path}.pub")]
    return next((match[1] for text in texts if (match := _PUBLIC.fullmatch(text))), "")


def _head(path: str) -> str:
    try:
        with open(path, encoding="ascii") as source:
            return source.read(_LONGEST)
    except (OSError, ValueError):
        return ""


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
