"""`why`: the reason something is as it is.

`why image NAME`, `why build`: what changed since the last time. `why cells [CELL…]`: what `test` would run.
`why STAGE [RELEASE]`: what keeps a release out.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from devbox.cli import output
from devbox.cli.project import opened
from devbox.cli.terminal import say
from devbox.errors import UsageError, one_line
from devbox.model.verdict import FAIL, PASS
from devbox.promotion.gates.contract import told
from devbox.verbs import build, images, promote, test

if TYPE_CHECKING:
    from devbox.cli.options import Args
    from devbox.model.verdict import Verdict


def why(args: Args) -> int:
    """Print the verdicts about a subject: a line each, or one JSON document."""
    words = args.many("subject")
    is_stage = words[:1] not in (("build",), ("image",), ("cells",))
    if words == ("build",):
        found = build.why_build(opened(args))
    elif len(words) == len(("image", "NAME")) and words[0] == "image":
        found = images.why_image(opened(args), words[1])
    elif words[:1] == ("cells",):
        found = test.why(opened(args), words[1:])
    elif is_stage and words and len(words) <= len(("STAGE", "RELEASE")):
        found = promote.why_stage(opened(args), stage=words[0], release="".join(words[1:]), sink=output.notes)
    else:
        raise UsageError(
            "why wants a subject: build, cells, image and its name, or a stage and perhaps a release",
            remedy="devbox why image dev",
        )
    if args.flag("json"):
        sys.stdout.write(json.dumps([_plain(verdict) for verdict in found]) + "\n")
    else:
        sys.stdout.write("".join(f"{_line(verdict)}\n" for verdict in found))
        if is_stage and all(verdict.verdict == PASS for verdict in found):
            say(f"· nothing keeps it out of {words[0]}")
    return 0


def _plain(verdict: Verdict) -> dict[str, str | None]:
    return {name: getattr(verdict, name) for name in ("subject", "verdict", "reason", "opens_at")}


def _line(verdict: Verdict) -> str:
    opens = f" (opens {told(verdict.opens_at)})" if verdict.opens_at else ""
    shown = f"{verdict.verdict.ljust(9)}  {verdict.subject}{f' — {verdict.reason}' if verdict.reason else ''}{opens}"
    lines = verdict.output.strip().splitlines() if verdict.verdict == FAIL else []
    return "\n".join((shown, *(f"           | {one_line(line)}" for line in lines if len(lines) > 1)))
