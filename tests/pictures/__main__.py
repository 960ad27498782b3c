"""Generator of the pictures in the documents, from a real run: `make pictures`. It bakes the demo from scratch.

docs/images/up.cast is the recording (`asciinema play`), docs/images/up.svg shows two moments of it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pictures import svg
from support.recording import Recording, record

COLUMNS = 100
IMAGES = Path(__file__).resolve().parents[2] / "docs/images"


def main() -> None:
    """Record `devbox up` of the demo, and draw it."""
    place = Path(tempfile.mkdtemp(prefix="devbox-pictures-"))
    place.chmod(0o755)
    known = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR", "DEVBOX_CACHE")}
    env = {**known, "DEVBOX_HOME": str(place / "home"), "DEVBOX_CONFIG": str(place / "config")}
    devbox, project = str(Path(sys.executable).parent / "devbox"), place / "shop"
    try:
        record([devbox, "init", "shop", "-t", "python-web"], columns=COLUMNS, cwd=place, env=env)
        cold = record([devbox, "up"], columns=COLUMNS, cwd=project, env=env)
        table = record([devbox, "ps"], columns=COLUMNS, cwd=project, env=env)
        record([devbox, "down", "-v"], columns=COLUMNS, cwd=project, env=env)
    finally:
        shutil.rmtree(place)
    IMAGES.mkdir(exist_ok=True)
    cold.save(IMAGES / "up.cast", title="devbox up, from nothing")
    busy = cold.until(_busy)
    later = f"{cold.seconds - busy.seconds:.0f} seconds later"
    moments = [("$ devbox up", busy), (later, cold), ("$ devbox ps", table)]
    drawn = [(caption, svg.rows(_softened(moment).last())) for caption, moment in moments]
    (IMAGES / "up.svg").write_text(svg.picture(drawn, columns=COLUMNS))


def _busy(lines: Sequence[str]) -> bool:
    """Two downloads or installations show how far they are."""
    return sum("━─" in line for line in lines) > 1


def _softened(recording: Recording) -> Recording:
    """Dim text as grey: the terminal in memory knows colours only."""
    events = [(at, text.replace("\x1b[2m", "\x1b[90m")) for at, text in recording.events]
    return Recording(recording.columns, recording.rows, events)


if __name__ == "__main__":
    main()
