"""`add`, `rm` and `search`: distribution packages in the env file."""

from __future__ import annotations

from devbox.cli import output
from devbox.cli.locate import open_from_args
from devbox.cli.terminal import print_line
from devbox.commands import packages
from devbox.envfile import recipes
from devbox.errors import FAILED, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.commands.table.options import Args

_SHOWN = 25  # packages without --all


def add(args: Args) -> int:
    """Add packages to a table of the env file."""
    project, names = open_from_args(args), _require_names(args, "add")
    label, new = packages.add(project, names, table=args.get_text("table"))
    if not new:
        print_line(f"· nothing to do: [{label}] has {', '.join(names)}")
        return 0
    print_line(f"✓ {project.env_file}: added {', '.join(new)} to [{label}]\n  → devbox up")
    for name in recipes.list_names(project.root):
        if name in new:
            print_line(f"· {name} is also a recipe, with its settings or as a service: devbox recipe show {name}")
    return 0


def remove(args: Args) -> int:
    """Remove packages from a table of the env file."""
    project, names = open_from_args(args), _require_names(args, "rm")
    label = packages.remove(project, names, table=args.get_text("table"))
    print_line(f"✓ {project.env_file}: removed {', '.join(names)} from [{label}]\n  → devbox up")
    return 0


def search(args: Args) -> int:
    """Print packages whose name or summary contains all words; exit 1 without any."""
    words = _require_names(args, "search")
    found = packages.search(open_from_args(args), words, table=args.get_text("table"))
    if args.get_flag("json"):
        output.print_document([each._asdict() for each in found])
    elif found:
        shown = found if args.get_flag("all") else found[:_SHOWN]
        output.print_table(("NAME", "VERSION", "SUMMARY"), shown)
        if more := len(found) - len(shown):
            print_line(f"· {more} more; show them with: devbox search {' '.join(words)} --all")
    else:
        print_line(f"· no package found: {' '.join(words)}")
    return 0 if found else FAILED


def _require_names(args: Args, verb: str) -> tuple[str, ...]:
    names = args.get_texts("names")
    if not names:
        raise UsageError("missing argument: PACKAGE", remedy=f"devbox {verb} git")
    return names
