"""Measure and write docs/reference/parity.md: `(cd tests && python -m parity)`, as root."""

from __future__ import annotations

from parity import table
from support.machine import REPOSITORY

(REPOSITORY / "docs/reference/parity.md").write_text(table.page(table.measure()))
