"""What is different between two makes of one step, in a person's words. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from devbox.model.image import BakeStep, Bootstrap, Copy, Files, FromDockerfile, FromTarball, Packages, Run

_SHOWN = 6
_OUTPUT = {True: "what [build] put out changed", False: "[build] has to run first: devbox why build"}


def changed(before: BakeStep, after: BakeStep) -> str:
    """Which inputs differ, as in "+ git, less 661-1 → 668-1"; "" where none does."""
    match before, after:
        case Bootstrap(), Bootstrap():
            found = _value(f"{before.distribution} {before.suite}", f"{after.distribution} {after.suite}")
            found += _names(before.packages, after.packages) or _versions(before.pins, after.pins)
        case Packages(), Packages():
            found = _names(before.names, after.names) or _versions(before.pins, after.pins)
            found += ["what is left out of them"] if before.purge != after.purge else []
        case Run(), Run():
            found = _commands(before, after) + _table("variable", before.env, after.env)
            found += _versions(before.pins, after.pins)
            found += ["its caches"] if before.caches != after.caches else []
        case FromDockerfile(), FromDockerfile():
            found = _table("argument", before.args, after.args)
            found += _context(before, after) if before.content != after.content else []
            found += _versions(before.pins, after.pins) if after.pins is not None or not found else []
        case FromTarball(), FromTarball():
            found = ["the tarball changed"] if before.content != after.content else []
        case Copy(), Copy():
            found = _table("copy of", before.paths, after.paths)
            found += [_OUTPUT[bool(after.output)]] if before.output != after.output else []
        case Files(), Files():
            found = _table("file", before.contents, after.contents) or _table("mode of", before.modes, after.modes)
        case _:
            found = ["another kind of step"]
    return ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")


def _context(before: FromDockerfile, after: FromDockerfile) -> list[str]:
    """What of a Dockerfile and its context is another one, as far as both are known file by file."""
    old, new = before.files, after.files
    names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    if not (old and new and names):
        return [f"{after.path} or its context changed"]
    if "" in names:
        return [f"{after.path} changed"]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{after.path} context changed: {', '.join(map(_printable, names[:_SHOWN]))}{more}"]


def _printable(name: str) -> str:
    """A name of somebody else's file, which may hold anything."""
    return "".join(sign if sign.isprintable() else "?" for sign in name)


def _value(before: str, after: str) -> list[str]:
    return [f"{before} → {after}"] if before != after else []


def _names(before: tuple[str, ...], after: tuple[str, ...]) -> list[str]:
    added = [f"+ {name}" for name in after if name not in before]
    gone = [f"- {name}" for name in before if name not in after]
    return added + gone or (["their order"] if before != after else [])


def _versions(before: Mapping[str, str] | None, after: Mapping[str, str] | None) -> list[str]:
    """Packages that the lock has in other versions. What nothing fixes yet is no change of the file's."""
    if before is None or after is None:
        return ["the lock has no versions of its packages"] if before != after and after is None else []
    names = sorted(before.keys() | after.keys())
    return [
        f"{name} {before.get(name, '(none)')} → {after.get(name, '(none)')}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _commands(before: Run, after: Run) -> list[str]:
    if before.commands == after.commands:
        return []
    new = [command for command in after.commands if command not in before.commands]
    if not new:
        return ["fewer commands, or in another order"]
    first = new[0] if isinstance(new[0], str) else " ".join(new[0])
    return [f"the command `{first.strip().splitlines()[0][:60]}` is new"]


def _table(what: str, before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    words = {(False, True): "is new", (True, False): "is gone", (True, True): "changed"}
    names = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return [f"{what} {name} {words[name in before, name in after]}" for name in names]
