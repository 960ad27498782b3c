"""`inspect`, `image tag` and `image history`: details of containers and images, and names of images."""

from __future__ import annotations

import json
import sys

from devbox.cli import output, ps_rows
from devbox.cli.locate import locate
from devbox.cli.terminal import print_line
from devbox.errors import DevboxError, UsageError
from devbox.host.disk import format_size
from devbox.host.paths import get_default_paths
from devbox.images.store.layout import Layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from devbox.commands.table.options import Args

_TAG_WORDS = 2


def inspect(args: Args) -> int:
    """Print a container with its table of the file, or an image, as JSON."""
    name = args.get_text("image") or "dev"
    row = _find_row(args, name)
    if row is None:
        from devbox.cli import image

        return image.inspect(args)
    print_line(json.dumps({**row, "file": _find_table(args, str(row["role"]), name)}, indent=2), stream=sys.stdout)
    return 0


def _find_row(args: Args, name: str) -> dict[str, object] | None:
    """Return the row of a container, as in `ps --json`; None if the project has none of this name."""
    try:
        return next((row for row in ps_rows.read(locate(args)) if row["name"] == name), None)
    except UsageError:  # no project here
        return None


def _find_table(args: Args, role: str, name: str) -> object:
    """Return the container's table of the env file; None if the file has changed or cannot be read."""
    from devbox.envfile import schema
    from devbox.envfile.load import load

    try:
        values = schema.describe(load(args.get_text("directory") or ".", file=args.get_text("file") or None))
    except DevboxError:
        return None
    table = values.get(role)
    return table if role == name or not isinstance(table, dict) else table.get(name)


def tag(args: Args) -> int:
    """Give an image of the store another name."""
    from devbox.cli import image
    from devbox.images.registry import reference
    from devbox.images.registry.transfers import Transfers
    from devbox.records.installed import NamedImages

    words = args.get_texts("what")
    if len(words) != _TAG_WORDS:
        raise UsageError("invalid arguments: expected IMAGE and REF", remedy="devbox image tag dev team/app:1.0")
    paths, named = get_default_paths(), reference.parse(words[1])
    if named.digest:
        raise UsageError(f"cannot name an image {named}: a digest is not a name", remedy="use a tag, such as app:1.0")
    found = image.find(args, Transfers(paths), words[0])
    Layout(paths.oci, lock=paths.lock("oci-index")).set_ref(str(named), found)
    NamedImages(paths).store([(str(named), found.digest)])
    print_line(str(named), stream=sys.stdout)
    return 0


def history(args: Args) -> int:
    """List the steps that made an image, newest first, with the sizes of their layers."""
    from devbox.cli import image
    from devbox.images import inspect as inspection
    from devbox.images.registry.transfers import Transfers

    name = args.get_text("image")
    if not name:
        raise UsageError("missing argument: IMAGE", remedy="devbox image ls")
    paths = get_default_paths()
    found = inspection.inspect_image(paths, image.find(args, Transfers(paths), name))
    layers, recorded = iter(found.layers), found.config.get("history")
    steps = []
    for step in recorded if isinstance(recorded, list) and recorded else [{} for _ in found.layers]:
        if not isinstance(step, dict):
            continue
        layer = {} if step.get("empty_layer") else next(layers, {})
        about = str(step.get("created_by") or step.get("comment") or "")
        steps.append({"created": step.get("created"), "size": layer.get("size", 0), "created_by": about})
    steps.reverse()
    if args.get_flag("json"):
        return output.print_document(steps)
    rows = [(str(step["created"] or ""), format_size(step["size"]), step["created_by"]) for step in steps]
    output.print_table(("CREATED", "SIZE", "STEP"), rows)
    return 0
