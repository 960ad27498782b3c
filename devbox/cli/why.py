"""`why`: the reason something is as it is. `why image NAME`, `why build`: what changed since the last time."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from devbox.cli.project import opened
from devbox.errors import UsageError
from devbox.verbs import build, images

if TYPE_CHECKING:
    from devbox.cli.options import Args
    from devbox.model.verdict import Verdict


def why(args: Args) -> int:
    """Print the verdicts about a subject: a line each, or one JSON document."""
    words = args.many("subject")
    if words == ("build",):
        found = build.why_build(opened(args))
    elif len(words) == len(("image", "NAME")) and words[0] == "image":
        found = images.why_image(opened(args), words[1])
    else:
        raise UsageError("why wants a subject: build, or image and its name", remedy="devbox why image dev")
    if args.flag("json"):
        sys.stdout.write(json.dumps([_plain(verdict) for verdict in found]) + "\n")
    else:
        sys.stdout.write("".join(f"{_line(verdict)}\n" for verdict in found))
    return 0


def _plain(verdict: Verdict) -> dict[str, str | None]:
    return {name: getattr(verdict, name) for name in ("subject", "verdict", "reason", "opens_at")}


def _line(verdict: Verdict) -> str:
    return f"{verdict.verdict.ljust(9)}  {verdict.subject}{f' — {verdict.reason}' if verdict.reason else ''}"
