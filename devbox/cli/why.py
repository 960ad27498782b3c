"""`why`: the reason something is as it is. `why image NAME` tells what changed since the last bake."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from devbox.cli.project import opened
from devbox.errors import UsageError
from devbox.verbs import images

if TYPE_CHECKING:
    from devbox.cli.options import Args
    from devbox.model.verdict import Verdict


def why(args: Args) -> int:
    """Print the verdicts about a subject: a line each, or one JSON document."""
    words = args.many("subject")
    if len(words) != len(("image", "NAME")) or words[0] != "image":
        raise UsageError("why wants a subject: image and its name", remedy="devbox why image dev")
    found = images.why_image(opened(args), words[1])
    if args.flag("json"):
        from devbox.model import codec

        sys.stdout.write(json.dumps([codec.dump(verdict) for verdict in found]) + "\n")
    else:
        sys.stdout.write("".join(f"{_line(verdict)}\n" for verdict in found))
    return 0


def _line(verdict: Verdict) -> str:
    return f"{verdict.verdict.ljust(9)}  {verdict.subject}{f' — {verdict.reason}' if verdict.reason else ''}"
