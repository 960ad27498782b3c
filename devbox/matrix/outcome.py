"""What comes of the cells of one run; of those first that are not begun, which may be all of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from devbox.matrix.looking import RUN, SKIPPED, Decided, Seen
from devbox.model.matrix import CellDone, CellResult, MatrixSink, MatrixStarted

NOBODY: Mapping[str, str] = {}


@dataclass
class Session:
    """One run. `results` has the cells that were not begun, could not be, or have ended."""

    seen: Seen
    decided: list[Decided]
    jobs: int = 0
    interrupted: bool = False
    results: dict[str, CellResult] = field(default_factory=dict)

    def tell(self, board: MatrixSink, lacking: Mapping[str, str] = NOBODY) -> None:
        """Tell who watches of the cells that are meant, and what of them is not begun.

        `lacking`: cells without an image, and why. Cells that were left out are in the results alone.
        """
        now = time.monotonic()
        meant = tuple(each.cell for each in self.decided if each.verdict != SKIPPED)
        board(MatrixStarted(cells=meant, jobs=self.jobs, at=now))
        for each in self.decided:
            result = _not_begun(each, lacking)
            if result is not None:
                self.results[each.cell.name] = result
                if each.verdict != SKIPPED:
                    board(CellDone(result=result, at=now))


def _not_begun(decided: Decided, lacking: Mapping[str, str]) -> CellResult | None:
    """The result of a cell that is not begun. What a cached one wrote when it passed is still there."""
    cell, last = decided.cell, decided.last
    if decided.verdict == RUN:
        return CellResult(cell=cell, state="error", reason=lacking[cell.name]) if cell.name in lacking else None
    if last is None:
        return CellResult(cell=cell, state=decided.verdict, reason=decided.reason)
    return CellResult(
        cell=cell,
        state=decided.verdict,
        reason=decided.reason,
        exit_code=last.exit_code,
        log=last.log,
        reports=last.reports,
        coverage=last.coverage,
        image=last.image,
        services=last.services,
        ended_at=last.ended_at,
    )
