"""Build worker: `python -m devbox.images.worker`. Runs one job in namespaces that die with devbox.

It only prepares files in its own directory; devbox decides afterwards what enters the store. Imports that only some
jobs need are inside functions: they take longer than many jobs.
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

_FEW_CYCLES = 200_000  # garbage-collection threshold: a worker creates few cycles and exits before they matter


def main() -> int:
    """Read, run and answer one job. Return 1 on failure, with the error as the last response."""
    gc.set_threshold(_FEW_CYCLES)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.umask(0o022)  # the caller's umask must not affect layers
    try:
        if done := _run_job():
            send_message(sys.stdout.fileno(), done)
    except DevboxError as error:
        send_message(sys.stdout.fileno(), _build_failure(error))
        return 1
    except OSError as error:
        known = os_errors.from_os_error(error)
        send_message(sys.stdout.fileno(), _build_failure(known or BakeFailed(f"cannot continue: {error}")))
        return 1
    return 0


def _run_job() -> Done | None:
    """Run one job; return None if stdin closes first."""
    request = _read_job()
    if request is None:
        return None
    paths = Paths(request["home"], request["runtime"])
    idmap = idmaps.load_store_map(paths)
    sandbox.enter(idmap, parent=request["parent"])
    shared = None
    if request["op"] == AHEAD:
        shared = _start_sandbox(paths, idmap)
        request = _read_job()
        if request is None:
            return None
    if request["op"] == unpacking.OP:
        unpacking.run_job(unpacking.load_job(request), idmap)
        return Done()
    from devbox.images import worker_jobs

    return worker_jobs.run_job(worker_jobs.load_job(request), paths, idmap, shared)


def _read_job() -> dict[str, Any] | None:
    line = sys.stdin.readline()
    plain: dict[str, Any] | None = jsontext.loads(line) if line else None
    return plain


def _start_sandbox(paths: Paths, idmap: IdMap) -> BuildSandbox:
    """Prepare for a step that runs a program, the most likely job, while waiting."""
    from devbox.images import worker_jobs  # noqa: F401 - preload
    from devbox.images.bake import installed, overlay  # noqa: F401 - preload
    from devbox.images.bake.steps import BuildSandbox

    sandbox = BuildSandbox(paths, idmap)
    with contextlib.suppress(DevboxError, OSError):  # a step that needs the instance reports the error
        sandbox.ensure_instance()
    return sandbox


def _build_failure(error: DevboxError) -> Failed:
    of_host = isinstance(error, HostError)
    return Failed(sentence=error.sentence, details=error.details, remedy=error.remedy, of_host=of_host)


if __name__ == "__main__":
    code = main()
    gc.freeze()  # skip cycle detection at exit
    raise SystemExit(code)
