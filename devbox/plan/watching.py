"""Watch rules: map changed files to actions on containers. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from devbox.model.plan import Op, Plan, Step
from devbox.model.spec import Watch

_MAGIC = frozenset("*?[")
# Rebuilds first, signals last.
_ORDER = (Op.REBUILD, Op.TASK, Op.RESTART, Op.SIGNAL)


def list_places(watches: Iterable[Watch]) -> tuple[str, ...]:
    """Return the directories and files to watch, relative to the project: patterns up to their first wildcard."""
    found = {_strip_wildcards(pattern) for watch in watches for pattern in watch.paths}
    return tuple(sorted(place for place in found if not any(_is_inside(place, other) for other in found)))


def plan_reactions(watches: Iterable[Watch], changed: Iterable[str]) -> Plan:
    """Return the reactions to changed files (relative paths), each once, with the files as its reason."""
    files = sorted(changed)
    because: dict[tuple[Op, str, str], list[str]] = {}
    for watch in watches:
        found = [path for path in files if _is_relevant(watch, path)]
        if found:
            written, _, name = watch.do.partition(":")
            kind = Op(written)
            known = because.setdefault((kind, name, "" if kind == Op.TASK else watch.container), [])
            known += [path for path in found if path not in known]
    rebuilt = {container for kind, _, container in because if kind == Op.REBUILD}
    steps: list[Step] = []
    for kind, name, container in sorted(because, key=lambda key: _ORDER.index(key[0])):
        if kind in (Op.RESTART, Op.SIGNAL) and container in rebuilt:
            continue  # the container is replaced by the rebuild
        resource = " ".join(part for part in (name, container) if part)
        before = tuple(step.id for step in steps)
        steps.append(
            Step(op=kind, resource=resource, reason=_format_paths(because[kind, name, container]), after=before)
        )
    return Plan(steps=tuple(steps))


def matches(path: str, pattern: str) -> bool:
    """True if a pattern matches a file or one of its parents. `**` matches any number of directories."""
    parts, globs = path.split("/"), pattern.strip("/").split("/")
    return any(_match_parts(parts[:count], globs) for count in range(1, len(parts) + 1))


def _is_relevant(watch: Watch, path: str) -> bool:
    if any(matches(path, pattern) for pattern in watch.ignore):
        return False
    return any(matches(path, pattern) for pattern in watch.paths)


def _match_parts(parts: list[str], globs: list[str]) -> bool:
    if not globs:
        return not parts
    if globs[0] == "**":
        return _match_parts(parts, globs[1:]) or (bool(parts) and _match_parts(parts[1:], globs))
    if globs[0] == ".":
        return _match_parts(parts, globs[1:])
    return bool(parts) and fnmatchcase(parts[0], globs[0]) and _match_parts(parts[1:], globs[1:])


def _strip_wildcards(pattern: str) -> str:
    parts: list[str] = []
    for part in pattern.split("/"):
        if _MAGIC & set(part):
            break
        if part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _format_paths(paths: list[str]) -> str:
    """Format paths as `app/main.py changed` or `app/main.py and 3 more changed`."""
    more = f" and {len(paths) - 1} more" if paths[1:] else ""
    return f"{paths[0]}{more} changed"


def _is_inside(place: str, other: str) -> bool:
    return place != other and (not other or place.startswith(f"{other}/"))
