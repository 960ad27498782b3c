"""`bake`: images without containers."""

from __future__ import annotations

from devbox.cli import output
from devbox.cli.display.select import choose
from devbox.cli.locate import open_from_args
from devbox.commands import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.commands.table.options import Args


def bake(args: Args) -> int:
    """Bake images; print their tables and digests (data)."""
    with choose(args.get_text("progress")) as display:
        found = images.bake(open_from_args(args), args.get_texts("names"), display, locked=args.get_flag("locked"))
    rows = [(name, baked.digest) for name, baked in found.items()]
    if args.get_flag("json"):
        return output.print_document([{"image": name, "digest": digest} for name, digest in rows])
    output.print_table(("IMAGE", "DIGEST"), rows)
    return 0
