"""The one time of all bakes. Nothing in a layer is younger, so that equal steps give equal bytes on any day."""

from __future__ import annotations

SOURCE_DATE_EPOCH = 1735689600  # 2025-01-01T00:00:00Z

# So that the same commands leave the same bytes: Python's caches hold neither the minute nor an order by chance.
REPEATABLE = {
    "SOURCE_DATE_EPOCH": str(SOURCE_DATE_EPOCH),
    "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1",
}
