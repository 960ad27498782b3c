"""A worker: `python -m devbox.images.worker`. Does one job in namespaces that die with devbox.

It only prepares files in a directory of its own; what becomes part of the store is decided by devbox, afterwards. What
only some jobs need is imported for them: loading it takes longer than many a job.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from typing import Any

from devbox.errors import BakeFailed, DevboxError, HostError
from devbox.host import trouble
from devbox.host.paths import Paths
from devbox.images.answer import AHEAD, Done, Failed, say
from devbox.images.unpacking import task as unpacking
from devbox.isolation import idmap as idmaps
from devbox.isolation import sandbox

_FEW_CYCLES = 50_000  # new objects until cycles are looked for: a worker makes few, and ends before they matter


def main() -> int:
    """Read the job, do it, answer. 1 when it failed, with the reason as the last answer."""
    gc.set_threshold(_FEW_CYCLES)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.umask(0o022)  # the caller's must not show in layers
    asked = sys.stdin.readline()
    if asked == AHEAD:
        from devbox.images import baking, inside, installed  # noqa: F401 - for a step that runs something

        asked = sys.stdin.readline()
    if not asked:
        return 0  # begun in vain
    try:
        say(sys.stdout.fileno(), _do(json.loads(asked)))
    except DevboxError as error:
        say(sys.stdout.fileno(), _failed(error))
        return 1
    except OSError as error:
        known = trouble.of_the_machine(error)
        say(sys.stdout.fileno(), _failed(known or BakeFailed(f"the work could not go on: {error}")))
        return 1
    return 0


def _do(plain: dict[str, Any]) -> Done:
    paths = Paths(plain["home"], plain["runtime"])
    idmap = idmaps.store_map(paths)
    sandbox.enter(idmap, parent=plain["parent"])
    if plain["op"] == unpacking.OP:
        unpacking.do(unpacking.load(plain), idmap)
        return Done()
    from devbox.images import baking

    return baking.do(baking.load(plain), paths, idmap)


def _failed(error: DevboxError) -> Failed:
    of_host = isinstance(error, HostError)
    return Failed(sentence=error.sentence, details=error.details, remedy=error.remedy, of_host=of_host)


if __name__ == "__main__":
    code = main()
    gc.freeze()  # nothing is looked for in what goes with the process
    raise SystemExit(code)
