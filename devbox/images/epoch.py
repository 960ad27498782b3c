"""The one time of all bakes. Nothing in a layer is younger, so that equal steps give equal bytes on any day."""

from __future__ import annotations

SOURCE_DATE_EPOCH = 1735689600  # 2025-01-01T00:00:00Z
