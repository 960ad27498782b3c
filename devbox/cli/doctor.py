"""`doctor`: what this machine lacks and what is left over; with --prune and --clean, what is to go."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict

from devbox.cli import confirm, terminal
from devbox.cli.options import Args
from devbox.cli.terminal import say
from devbox.doctor import clean
from devbox.doctor.examine import examine
from devbox.doctor.finding import OK, PROBLEM, WARNING, Finding, Ground
from devbox.errors import FAILED, DevboxError, UsageError
from devbox.host import project
from devbox.host.paths import Paths, default_paths
from devbox.host.sizes import shown

_SIGNS = {OK: ("✓", "green"), WARNING: ("!", "yellow"), PROBLEM: ("✗", "red")}
_NAME_WIDTH = 16


def doctor(args: Args) -> int:
    """Examine (exit 1 when there is a problem), or remove what is left over."""
    if args.flag("clean") and args.flag("prune"):
        raise UsageError("--clean and --prune exclude each other", remedy="devbox doctor --prune")
    paths = default_paths()
    if args.flag("clean"):
        return _remove(args, paths, clean.everything(paths), clean.clean, "--clean")
    if args.flag("prune"):
        return _remove(args, paths, clean.orphans(paths), clean.prune, "--prune")
    if args.flag("yes"):
        raise UsageError("--yes belongs to --clean or --prune", remedy="devbox doctor --prune --yes")
    return _examine(args, Ground(paths, _project(args), offline=args.flag("offline")))


def _project(args: Args) -> tuple[str, str] | None:
    """The project around the caller. One that was named must be there."""
    file = args.text("file") or None
    try:
        return project.find(args.text("directory") or ".", file=file)
    except DevboxError:
        if file or args.text("directory"):
            raise
        return None


def _examine(args: Args, ground: Ground) -> int:
    if args.flag("json"):
        found = list(examine(ground))
        sys.stdout.write(json.dumps([asdict(finding) for finding in found]) + "\n")
    else:
        found = [_told(finding) for finding in examine(ground)]
        _verdict(found)
    return FAILED if any(finding.state == PROBLEM for finding in found) else 0


def _told(finding: Finding) -> Finding:
    """Print a finding as soon as it is known."""
    color = terminal.has_color(sys.stdout)
    sign, shade = _SIGNS[finding.state]
    lead = terminal.paint(sign, shade, when=color)
    say(f"{lead} {finding.check.ljust(_NAME_WIDTH)} {finding.sentence}", stream=sys.stdout)
    if finding.remedy:
        say(f"  → {finding.remedy}", stream=sys.stdout)
    sys.stdout.flush()
    return finding


def _verdict(found: Iterable[Finding]) -> None:
    states = [finding.state for finding in found]
    problems, warnings = states.count(PROBLEM), states.count(WARNING)
    if not problems:
        say("· devbox can work here" + (f"; {_counted(warnings, 'warning')}" if warnings else ""))
    else:
        say(f"· {_counted(problems, 'problem')}: run what stands behind each →, then devbox doctor again")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _remove(args: Args, paths: Paths, items: list[clean.Item], work: Callable[[Paths], None], flag: str) -> int:
    """Say what is to go, ask, remove, say what went."""
    for note in clean.kept(paths) if flag == "--prune" else ():
        say(f"· {note}")
    if not items:
        say(f"· nothing to remove in {paths.home}")
        return _printed(args, items)
    if not args.flag("json"):
        say(f"devbox doctor {flag} removes from {paths.home} (DEVBOX_HOME) and {paths.runtime}:", stream=sys.stdout)
        for item in items:
            say(f"{shown(item.size).rjust(9)}  {item.what}", stream=sys.stdout)
    if not _is_confirmed(args, paths, flag):
        confirm.nothing_removed()
        return FAILED
    work(paths)
    total = shown(sum(item.size for item in items))
    say(f"· removed {total} from {paths.home}; your projects and their devbox.toml stay")
    if flag == "--clean" and not paths.cache.startswith(f"{paths.home}/") and os.path.isdir(paths.cache):
        say(f"  → the shared DEVBOX_CACHE stays; to remove it as well: rm -r {paths.cache}")
    return _printed(args, items)


def _is_confirmed(args: Args, paths: Paths, flag: str) -> bool:
    """True if the user agrees; `--clean` also destroys stages, of which the protected ones are named one by one."""
    command = f"doctor {flag}"
    if not (args.flag("yes") or confirm.confirm("Remove all this?", command=command)):
        return False
    stages = [each.stage or each.id for each in clean.protected(paths)] if flag == "--clean" else []
    what = f"all that devbox keeps in {paths.home}"
    return confirm.confirm_names(stages, args.many("confirm"), what=what, command=f"{command} --yes")


def _printed(args: Args, items: Iterable[clean.Item]) -> int:
    if args.flag("json"):
        sys.stdout.write(json.dumps([asdict(item) for item in items]) + "\n")
    return 0
