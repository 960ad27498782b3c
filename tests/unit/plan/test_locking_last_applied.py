"""What is recorded of a complete run and of a run of selected containers."""

from __future__ import annotations

from dataclasses import replace

from support.builders import container, converged, resolved

from devbox.plan import locking

DB, CACHE = container("db"), container("cache")
DEV = container("dev", role="dev", needs=("db",))
SHOP = resolved(DEV, DB, CACHE)


def test_a_whole_run_forgets_what_the_file_no_longer_has():
    first = locking.find_last_applied(SHOP, converged(SHOP), None)
    assert set(first.specs) == {"dev", "db", "cache"}
    less = resolved(DEV, DB)
    assert set(locking.find_last_applied(less, converged(less, last=first), None).specs) == {"dev", "db"}


def test_a_run_of_one_name_leaves_the_others_as_they_were():
    first = locking.find_last_applied(SHOP, converged(SHOP), None)
    changed = resolved(replace(DEV, env={"A": "1"}), replace(DB, env={"B": "1"}), replace(CACHE, env={"C": "1"}))
    second = locking.find_last_applied(changed, converged(changed, last=first), ("dev",))
    assert set(second.specs["dev"].env) == {"A"}
    assert set(second.specs["db"].env) == {"B"}, "dev needs it"
    assert second.specs["cache"] == first.specs["cache"]
    assert set(second.images) == set(first.images)
