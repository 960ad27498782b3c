"""Each error of devbox is in the catalogue and has a remedy."""

from __future__ import annotations

from support.catalogue import entries, page
from unit.house_rules.source import ROOT

# Their remedy is the place in the file that they name.
OF_THE_FILE = ("envfile", "roles")
# Made inside of a bake's worker: images/bake/pool.py adds where the whole output lies.
OF_A_STEP = {
    *(f"images/bake/{name}.py" for name in ("apt", "bootstrap", "overlay", "steps")),
    *(f"images/layers/{name}.py" for name in ("entry", "make", "pack", "tar", "unpack")),
    *("images/worker.py", "images/worker_jobs.py"),
}


def test_the_catalogue_is_complete():
    written = (ROOT / "docs/reference/errors.md").read_text()
    assert written == page(), "make reference"


def test_every_error_says_what_to_do_next():
    silent = [
        f"{entry.path}:{entry.line}: {entry.sentence}"
        for entry in entries()
        if not entry.remedy and entry.room not in OF_THE_FILE and entry.path not in OF_A_STEP and entry.is_sentence
    ]
    assert not silent
