"""`doctor`: checks of the host and leftovers; --install adds missing packages, --prune and --clean remove data."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict

from devbox.cli import output, prompts, terminal
from devbox.cli.terminal import print_line
from devbox.commands.table.options import Args
from devbox.doctor import clean, packages
from devbox.doctor.checks import OK, PROBLEM, WARNING, CheckContext, CheckResult
from devbox.doctor.examine import PACKAGE_CHECKS, examine
from devbox.errors import FAILED, DevboxError, UsageError
from devbox.host import environ, process, project
from devbox.host.disk import format_size
from devbox.host.paths import Paths, get_default_paths

_SIGNS = {OK: ("✓", "green"), WARNING: ("!", "yellow"), PROBLEM: ("✗", "red")}
_NAME_WIDTH = 16
_WORKS = ("clean", "prune", "install")  # options that do something else than checking


def doctor(args: Args) -> int:
    """Run the checks (exit 1 on a problem), install packages, or remove leftovers."""
    if len(works := [flag for flag in _WORKS if args.get_flag(flag)]) > 1:
        raise UsageError(f"--{works[0]} conflicts with --{works[1]}", remedy=f"devbox doctor --{works[1]}")
    paths = get_default_paths()
    if args.get_flag("install"):
        return _install(args, CheckContext(paths))
    if args.get_flag("clean"):
        return _remove(args, paths, clean.list_everything(paths), clean.clean, "--clean")
    if args.get_flag("prune"):
        return _remove(args, paths, clean.list_orphans(paths), clean.prune, "--prune")
    if args.get_flag("yes"):
        raise UsageError("--yes requires --install, --clean or --prune", remedy="devbox doctor --prune --yes")
    return _examine(args, CheckContext(paths, _find_project(args), offline=args.get_flag("offline")))


def _find_project(args: Args) -> tuple[str, str] | None:
    """Return the project around the caller. One named by an option must exist."""
    file = args.get_text("file") or None
    try:
        return project.find(args.get_text("directory") or ".", file=file)
    except DevboxError:
        if file or args.get_text("directory"):
            raise
        return None


def _examine(args: Args, context: CheckContext) -> int:
    if args.get_flag("json"):
        found = list(examine(context))
        sys.stdout.write(json.dumps([asdict(finding) for finding in found]) + "\n")
    else:
        found = [_print_result(finding) for finding in examine(context)]
        _print_verdict(found)
    return FAILED if any(finding.state == PROBLEM for finding in found) else 0


def _print_result(finding: CheckResult) -> CheckResult:
    """Print a result as soon as it is known."""
    color = terminal.has_color(sys.stdout)
    sign, shade = _SIGNS[finding.state]
    lead = terminal.paint(sign, shade, when=color)
    print_line(f"{lead} {finding.check.ljust(_NAME_WIDTH)} {finding.sentence}", stream=sys.stdout)
    if finding.remedy:
        print_line(f"  → {finding.remedy}", stream=sys.stdout)
    sys.stdout.flush()
    return finding


def _print_verdict(found: Iterable[CheckResult]) -> None:
    states = [finding.state for finding in found]
    problems, warnings = states.count(PROBLEM), states.count(WARNING)
    if not problems:
        print_line("· no problems found" + (f"; {output.format_count(warnings, 'warning')}" if warnings else ""))
    else:
        print_line(f"· {output.format_count(problems, 'problem')}: follow each →, then run devbox doctor again")


def _install(args: Args, context: CheckContext) -> int:
    """Install missing packages if the user agrees; without a terminal, print the command."""
    results = [result for check in PACKAGE_CHECKS for result in check(context)]
    for result in results:
        if result.state != OK and not packages.list_missing([result]):
            print_line(f"· not required by every project: {result.sentence}\n  → {result.remedy}")
    missing = packages.list_missing(results)
    if not missing:
        print_line("· nothing to install: all required packages are present")
        return 0
    packages.require_apt(missing)
    commands = packages.build_commands(missing, context, has_lists=packages.has_package_lists())
    line = packages.format_commands(commands)
    if not args.get_flag("yes"):
        if not prompts.has_terminal():
            sys.stdout.write(f"{line}\n")
            return 0
        if not prompts.confirm(f"Run {line}?", command="doctor --install"):
            print_line("· nothing was installed")
            return FAILED
    _run(packages.add_yes(commands))
    print_line(f"· installed {' '.join(missing)}")
    return 0


def _run(commands: Iterable[list[str]]) -> None:
    """Run the commands with this process's streams: sudo may ask for a password."""
    for command in commands:
        code = process.spawn([process.find(command[0]), *command[1:]], env=environ.copy_environment()).wait()
        if code != 0:
            line = packages.format_commands([command])
            sentence = f"cannot install packages: {command[0]} exited with code {code}"
            raise DevboxError(sentence, remedy=f"see its output above, then run: {line}")


def _remove(args: Args, paths: Paths, items: list[clean.CleanupItem], work: Callable[[Paths], None], flag: str) -> int:
    """List what will be removed, ask, remove, and list what was removed."""
    for note in clean.list_kept_reasons(paths) if flag == "--prune" else ():
        print_line(f"· {note}")
    if not items:
        print_line(f"· nothing to remove in {paths.home}")
        return _print_items(args, items)
    if not args.get_flag("json"):
        print_line(
            f"devbox doctor {flag} removes from {paths.home} (DEVBOX_HOME) and {paths.runtime}:", stream=sys.stdout
        )
        for item in items:
            print_line(f"{format_size(item.size).rjust(9)}  {item.what}", stream=sys.stdout)
    if not _is_confirmed(args, paths, flag):
        prompts.print_nothing_removed()
        return FAILED
    work(paths)
    total = format_size(sum(item.size for item in items))
    print_line(f"· removed {total} from {paths.home}; your projects and their devbox.toml are kept")
    if flag == "--clean" and not paths.cache.startswith(f"{paths.home}/") and os.path.isdir(paths.cache):
        print_line(f"  → the shared DEVBOX_CACHE was kept; remove it with: rm -r {paths.cache}")
    return _print_items(args, items)


def _is_confirmed(args: Args, paths: Paths, flag: str) -> bool:
    """True if the user agrees; `--clean` also destroys stages, and protected ones must be named one by one."""
    command = f"doctor {flag}"
    if not (args.get_flag("yes") or prompts.confirm("Remove all of this?", command=command)):
        return False
    stages = [each.stage or each.id for each in clean.list_protected(paths)] if flag == "--clean" else []
    what = f"all devbox data in {paths.home}"
    return prompts.confirm_names(stages, args.get_texts("confirm"), what=what, command=f"{command} --yes")


def _print_items(args: Args, items: Iterable[clean.CleanupItem]) -> int:
    if args.get_flag("json"):
        sys.stdout.write(json.dumps([asdict(item) for item in items]) + "\n")
    return 0
