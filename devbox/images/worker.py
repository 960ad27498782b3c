"""A worker: `python -m devbox.images.worker`. Does one job in namespaces that die with devbox.

It only prepares files in a directory of its own; what becomes part of the store is decided by devbox, afterwards. What
only some jobs need is imported for them: loading it takes longer than many a job.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from devbox.errors import BakeFailed, DevboxError, HostError
from devbox.host import os_errors
from devbox.host.paths import Paths
from devbox.images.bake.messages import AHEAD, Done, Failed, send_message
from devbox.images.layers import unpack as unpacking
from devbox.isolation import idmap as idmaps
from devbox.isolation import sandbox
from devbox.isolation.types import IdMap
from devbox.model import jsontext

if TYPE_CHECKING:
    from devbox.images.bake.steps import BuildSandbox

_FEW_CYCLES = 200_000  # new objects until cycles are looked for: a worker makes few, and ends before they matter


def main() -> int:
    """Read the job, do it, answer. 1 when it failed, with the reason as the last answer."""
    gc.set_threshold(_FEW_CYCLES)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.umask(0o022)  # the caller's must not show in layers
    try:
        if done := _run_job():
            send_message(sys.stdout.fileno(), done)
    except DevboxError as error:
        send_message(sys.stdout.fileno(), _build_failure(error))
        return 1
    except OSError as error:
        known = os_errors.from_os_error(error)
        send_message(sys.stdout.fileno(), _build_failure(known or BakeFailed(f"the work could not go on: {error}")))
        return 1
    return 0


def _run_job() -> Done | None:
    """Do what is asked; None where it is nothing: begun in vain."""
    asked = _read_job()
    if asked is None:
        return None
    paths = Paths(asked["home"], asked["runtime"])
    idmap = idmaps.load_store_map(paths)
    sandbox.enter(idmap, parent=asked["parent"])
    ground = None
    if asked["op"] == AHEAD:
        ground = _start_sandbox(paths, idmap)
        asked = _read_job()
        if asked is None:
            return None
    if asked["op"] == unpacking.OP:
        unpacking.run_job(unpacking.load_job(asked), idmap)
        return Done()
    from devbox.images import worker_jobs

    return worker_jobs.run_job(worker_jobs.load_job(asked), paths, idmap, ground)


def _read_job() -> dict[str, Any] | None:
    line = sys.stdin.readline()
    plain: dict[str, Any] | None = jsontext.loads(line) if line else None
    return plain


def _start_sandbox(paths: Paths, idmap: IdMap) -> BuildSandbox:
    """What a step that runs something needs, which is most likely the job: there is time for it now."""
    from devbox.images.bake import installed  # noqa: F401 - to have them
    from devbox.images.bake.steps import BuildSandbox

    ground = BuildSandbox(paths, idmap)
    with contextlib.suppress(DevboxError, OSError):  # the step that wants it will say what is lacking; others go on
        ground.ensure_instance()
    return ground


def _build_failure(error: DevboxError) -> Failed:
    of_host = isinstance(error, HostError)
    return Failed(sentence=error.sentence, details=error.details, remedy=error.remedy, of_host=of_host)


if __name__ == "__main__":
    code = main()
    gc.freeze()  # nothing is looked for in what goes with the process
    raise SystemExit(code)
