"""`shell`, `run` and tasks check first whether the dependencies of a container run."""

from __future__ import annotations

import pytest
from contract.engine.backend import Backend

from devbox.errors import CannotRun
from devbox.host.paths import Paths
from devbox.isolation.exec import are_needs_met


def test_a_need_that_was_stopped_is_missed_and_a_finished_job_is_not(backend: Backend, paths: Paths) -> None:
    backend.network("db", "init", "dev")
    backend.up("db")
    backend.up("init", "true", kind="job", restart="no")
    backend.up("dev", needs=("db", "init"))
    asked = paths, backend.instance.id, "dev"
    assert are_needs_met(*asked)

    backend.engine.stop(backend.instance, "db", timeout=0)
    assert not are_needs_met(*asked)
    backend.up("db")
    assert are_needs_met(*asked)

    backend.engine.stop(backend.instance, "dev", timeout=0)
    with pytest.raises(CannotRun):
        are_needs_met(*asked)
